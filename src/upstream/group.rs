//! Names what there is of one upstream for the whole process.

use std::sync::Arc;

use crate::config;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::tls::Tls;

/// An upstream as it is set up now.
#[derive(Clone, Debug)]
pub struct Group {
    /// What is set for it.
    pub settings: Arc<config::Upstream>,
    /// In the order of the settings.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How TLS is spoken to them, where one of them speaks it.
    pub tls: Option<Tls>,
}

impl Group {
    /// Its endpoints, each with the group.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<Endpoint>, &Self)> {
        self.endpoints.iter().map(move |it| (it, self))
    }

    /// Whether the endpoints of `other` are spoken to and looked after in the same way.
    pub fn is_as(&self, other: &Self) -> bool {
        self.has_tls_of(other) && self.settings == other.settings
    }

    /// Whether TLS is spoken in the same way to those of `other`: their connections are as good.
    pub fn has_tls_of(&self, other: &Self) -> bool {
        match (&self.tls, &other.tls) {
            (Some(ours), Some(theirs)) => ours.is_as(theirs),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// All of them; another list takes its place when the configuration is loaded anew.
pub type Groups = Arc<[Group]>;
