//! Types commands beside a gateway, as an operator does.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::gateway::Gateway;

/// Somebody who types, with what their environment says.
#[derive(Clone, Debug)]
pub struct Shell {
    directory: PathBuf,
    variables: Vec<(String, String)>,
}

/// What a command said, and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Shell {
    /// In a gateway's directory, knowing where its admin listener is and with no token.
    pub fn beside(gateway: &Gateway) -> Self {
        let this = Self { directory: gateway.directory().to_owned(), variables: Vec::new() };
        this.with("KEYWARD_ADMIN_URL", &format!("http://{}", gateway.admin_address()))
    }

    /// The same with the first operator's token.
    pub fn of_operator(gateway: &Gateway) -> Self {
        Self::beside(gateway).with("KEYWARD_ADMIN_TOKEN_FILE", "operator.token")
    }

    /// With another value in its environment.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(it, _)| it != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Types `keyward` with these arguments, and waits for its end.
    #[track_caller]
    pub fn types(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.args(arguments).current_dir(&self.directory);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KEYWARD_") {
                command.env_remove(name);
            }
        }
        let output = command.envs(self.variables.clone()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The same where it goes well; what stands on standard output.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let said = self.types(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        said.out
    }

    /// The same where the answer is a document.
    #[track_caller]
    pub fn document(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault} in {text}"))
    }

    /// The same where it does not go well: nothing stands on standard output, and on standard
    /// error a line of ours with every one of `words` in it.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let said = self.types(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert_eq!(said.out, "", "{arguments:?}");
        assert!(said.err.starts_with("keyward: ") || code == 2, "{arguments:?}: {said:?}");
        for word in words {
            assert!(said.err.contains(word), "{arguments:?} does not say {word:?}: {said:?}");
        }
    }
}
