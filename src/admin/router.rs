//! Holds every call of the admin listener: one row each, from which the router is built.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::routing::{MethodFilter, MethodRouter};
use http::Method;

use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Visit};
use crate::admin::front::Found;
use crate::admin::rejection::Rejection;
use crate::admin::{Admin, fleet, keys, operators, probes, reload};
use crate::key::record::Permission;

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Its method; `GET` answers `HEAD` too.
    pub method: Method,
    /// Its path; `{id}` stands for one segment.
    pub path: &'static str,
    /// Who may, and what is done.
    pub need: Need,
}

/// What a call needs of whoever asks, and who carries it out.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Nothing: anyone may.
    Nothing(fn(Visit) -> Answering),
    /// An operator who holds this.
    Permission(Permission, fn(Asked) -> Answering),
}

/// An answer to come.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer, Rejection>> + Send>>;

/// Every call there is.
pub const CALLS: &[Call] = &[
    open("/livez", |it| at_once(probes::live(&it))),
    open("/readyz", |it| at_once(probes::ready(&it))),
    call(Method::GET, "/metrics", Permission::FleetRead, |it| at_once(Ok(probes::metrics(&it)))),
    call(Method::POST, KEYS, Permission::KeysCreate, |it| Box::pin(keys::create::create(it))),
    call(Method::GET, KEYS, Permission::KeysRead, |it| Box::pin(keys::list::list(it))),
    call(Method::GET, KEY, Permission::KeysRead, |it| Box::pin(keys::show(it))),
    call(Method::PATCH, KEY, Permission::KeysUpdate, |it| Box::pin(keys::update::update(it))),
    call(Method::DELETE, KEY, Permission::KeysRevoke, |it| Box::pin(keys::revoke(it))),
    call(Method::POST, PREVIEW, Permission::UsageRead, |it| Box::pin(keys::preview::preview(it))),
    call(Method::GET, OPERATORS, Permission::OperatorsManage, |it| Box::pin(operators::list(it))),
    call(Method::POST, OPERATORS, Permission::OperatorsManage, |it| {
        Box::pin(operators::create(it))
    }),
    call(Method::DELETE, OPERATOR, Permission::OperatorsManage, |it| {
        Box::pin(operators::revoke(it))
    }),
    call(Method::GET, GATEWAYS, Permission::FleetRead, |it| Box::pin(fleet::list(it))),
    call(Method::DELETE, GATEWAY, Permission::FleetManage, |it| Box::pin(fleet::forget(it))),
    call(Method::POST, RELOAD, Permission::ConfigReload, |it| Box::pin(reload::reload(it))),
];

const KEYS: &str = "/v1/keys";
const KEY: &str = "/v1/keys/{id}";
const PREVIEW: &str = "/v1/keys/{id}/limits/preview";
const OPERATORS: &str = "/v1/operators";
const OPERATOR: &str = "/v1/operators/{id}";
const GATEWAYS: &str = "/v1/gateways";
const GATEWAY: &str = "/v1/gateways/{id}";
const RELOAD: &str = "/v1/reload";

/// Leads every request to [`Admin::answer`], with the call that was found.
pub fn router(admin: Arc<Admin>) -> Router {
    let nothing = async |State(admin): State<Arc<Admin>>, request: Request| {
        admin.answer(Found::Nothing, request).await
    };
    let mut router = Router::new().fallback(nothing);
    for path in paths() {
        router = router.route(path, methods(path));
    }
    router.with_state(admin)
}

/// The methods that a path takes, for `Allow`.
pub fn allowed(path: &str) -> Vec<Method> {
    CALLS.iter().filter(|it| it.path == path).map(|it| it.method.clone()).collect()
}

fn methods(path: &'static str) -> MethodRouter<Arc<Admin>> {
    let other = async move |State(admin): State<Arc<Admin>>, request: Request| {
        admin.answer(Found::Path(path), request).await
    };
    let mut methods = MethodRouter::new().fallback(other);
    for call in CALLS.iter().filter(|it| it.path == path) {
        let answer = async move |State(admin): State<Arc<Admin>>, id: Id, request: Request| {
            admin.answer(Found::Call(call, segment(id)), request).await
        };
        let Ok(filter) = MethodFilter::try_from(call.method.clone()) else { continue };
        methods = methods.on(filter, answer);
    }
    methods
}

type Id = Result<RawPathParams, RawPathParamsRejection>;

/// What stands in the path for `{id}`.
fn segment(id: Id) -> Option<String> {
    id.ok()?.iter().next().map(|(_name, value)| value.to_owned())
}

fn paths() -> impl Iterator<Item = &'static str> {
    let first = |(at, path): &(usize, &str)| !CALLS.iter().take(*at).any(|it| it.path == *path);
    CALLS.iter().map(|it| it.path).enumerate().filter(first).map(|(_, path)| path)
}

fn at_once(answer: Result<Answer, Rejection>) -> Answering {
    Box::pin(ready(answer))
}

const fn open(path: &'static str, handler: fn(Visit) -> Answering) -> Call {
    Call { method: Method::GET, path, need: Need::Nothing(handler) }
}

const fn call(
    method: Method,
    path: &'static str,
    permission: Permission,
    handler: fn(Asked) -> Answering,
) -> Call {
    Call { method, path, need: Need::Permission(permission, handler) }
}
