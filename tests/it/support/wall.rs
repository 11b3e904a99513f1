//! Clocks on the wall that can be moved, one for each process: a library stands in front of the C
//! library's, made by the compiler that links this crate.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::NamedTempFile;

/// What time of day one process sees. It is right at first.
#[derive(Debug)]
pub struct Wall {
    file: NamedTempFile,
}

impl Wall {
    /// A right one.
    pub fn right() -> Self {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        Self { file }
    }

    /// What a process has to find in its environment to see it.
    pub fn variables(&self) -> [(String, String); 2] {
        let text = |path: &std::path::Path| path.display().to_string();
        [
            ("LD_PRELOAD".to_owned(), text(library())),
            ("WALL_CLOCK".to_owned(), text(self.file.path())),
        ]
    }

    /// The same as words before a command.
    pub fn way(&self) -> Vec<String> {
        let variables = self.variables().map(|(name, value)| format!("{name}={value}"));
        std::iter::once("env".to_owned()).chain(variables).collect()
    }

    /// Has it be so many seconds ahead of the right time.
    pub fn step(&self, ahead: i64) {
        self.file.as_file().write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }
}

fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("wall-{}.so", std::process::id()));
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&path);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/wall/wall.c"));
        let output = command.output().expect("a compiler of C is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    })
}

#[test]
fn a_process_sees_the_time_of_its_own_wall() {
    let (wall, other) = (Wall::right(), Wall::right());
    wall.step(1_000_000);
    let seconds = |wall: &Wall| -> i64 {
        let mut command = Command::new("date");
        let output = command.arg("+%s").envs(wall.variables()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    let ahead = seconds(&wall) - seconds(&other);
    assert!((999_900..1_000_100).contains(&ahead), "{ahead} s");
}
