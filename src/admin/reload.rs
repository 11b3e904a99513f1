//! The call that has the configuration read again.

use tokio::sync::{mpsc, oneshot};

use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::rejection::{Fault, Rejection};
use crate::admin::writing::{Action, Author, audit, tell};
use crate::config::change::Changes;

/// The way to whoever reads the configuration again.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Wish>);

/// Somebody's wish that it be read again, to be answered with what that changed, or with everything
/// that is wrong with it.
pub type Wish = oneshot::Sender<Result<Changes, Vec<Fault>>>;

impl Reloads {
    /// The way, and where it leads.
    pub fn channel() -> (Self, mpsc::Receiver<Wish>) {
        let (sender, inbox) = mpsc::channel(WISHES_MAX);
        (Self(sender), inbox)
    }

    async fn ask(&self) -> Result<Changes, Rejection> {
        let (wish, answer) = oneshot::channel();
        self.0.try_send(wish).map_err(|fault| match fault {
            mpsc::error::TrySendError::Full(_) => Rejection::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ENDING,
        })?;
        answer.await.map_err(|_ended| ENDING)?.map_err(Rejection::BadRequest)
    }
}

/// Reads the configuration again, and says what that changed.
///
/// The row of the audit is written first: stopped in between, it says too much and never too
/// little.
pub async fn reload(asked: Asked) -> Result<Answer, Rejection> {
    let (admin, author) = (&asked.admin, Author::from(&asked.operator));
    let row = audit(&author, Action::ConfigReload, String::new(), asked.now());
    admin.keyring.store().note(row).await?;
    let changes = admin.reloads.ask().await?;
    tell(&author, Action::ConfigReload, "");
    Answer::json(Done::Well, &changes)
}

const ENDING: Rejection = Rejection::StateConflict("this gateway is on its way out");
const WISHES_MAX: usize = 16;
