//! What survives the death of a server.

/// What survives its death.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Everything that was answered.
    #[default]
    Always,
    /// Everything, but for the last second where the power fails.
    EverySecond,
    /// Nothing.
    Nothing,
}

impl Durability {
    /// As its configuration says it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Always => "save \"\"\nappendonly yes\nappendfsync always\n",
            Self::EverySecond => "save \"\"\nappendonly yes\nappendfsync everysec\n",
            Self::Nothing => "save \"\"\nappendonly no\n",
        }
    }
}
