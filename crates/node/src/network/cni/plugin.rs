//! One call of one plugin: a process with the specification's environment and standard input.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::network::error::NetworkError;

/// A plugin that takes longer is ended: some ask servers over slow networks, none needs minutes.
const PATIENCE: Duration = Duration::from_secs(90);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of what it complains of that are told on.
const WORDS_MAX: usize = 1024;

/// What a plugin shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
}

impl Command {
    fn env(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "delete",
            Self::Check => "check",
        }
    }
}

/// See the module.
pub(super) struct Call<'a> {
    pub(super) command: Command,
    pub(super) plugin: &'a str,
    pub(super) container: &'a str,
    pub(super) netns: &'a Path,
    pub(super) link: &'a str,
    pub(super) args: &'a str,
    pub(super) bin_dirs: &'a [PathBuf],
    pub(super) stdin: &'a Value,
}

impl Call<'_> {
    /// The answer, where there is one.
    pub(super) async fn run(&self) -> Result<Option<Value>, NetworkError> {
        let failed = |cause: String| {
            let (plugin, word) = (self.plugin, self.command.word());
            NetworkError::Plugin(format!("plugin type=\"{plugin}\" failed ({word}): {cause}"))
        };
        let program = self.program().map_err(failed)?;
        let work = self.carry_out(&program);
        let (answer, words, fine) = tokio::time::timeout(PATIENCE, work)
            .await
            .map_err(|_| failed(format!("it did not end within {PATIENCE:?}")))?
            .map_err(|error| failed(error.to_string()))?;
        if fine {
            return Ok(serde_json::from_slice(&answer).ok());
        }
        Err(failed(complaint(&answer, &words)))
    }

    async fn carry_out(&self, program: &Path) -> std::io::Result<(Vec<u8>, Vec<u8>, bool)> {
        let path = std::env::join_paths(self.bin_dirs).map_err(std::io::Error::other)?;
        // A network that is gone is told by an empty name: DEL comes also after a reboot.
        let netns = if self.netns.exists() { self.netns } else { Path::new("") };
        let mut child = tokio::process::Command::new(program)
            .env("CNI_COMMAND", self.command.env())
            .env("CNI_CONTAINERID", self.container)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", self.link)
            .env("CNI_ARGS", self.args)
            .env("CNI_PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let text = self.stdin.to_string();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A plugin that does not read is judged by how it ends.
                drop(stdin.write_all(text.as_bytes()).await);
            }
        };
        let (mut answer, mut words) = (Vec::new(), Vec::new());
        let read_answer = async {
            match stdout {
                Some(out) => out.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await,
                None => Ok(0),
            }
        };
        let read_words = async {
            match stderr {
                Some(out) => out.take(ANSWER_BYTES_MAX).read_to_end(&mut words).await,
                None => Ok(0),
            }
        };
        let ((), out, err) = tokio::join!(feed, read_answer, read_words);
        out?;
        err?;
        let status = child.wait().await?;
        Ok((answer, words, status.success()))
    }

    fn program(&self) -> Result<PathBuf, String> {
        let found = self.bin_dirs.iter().map(|dir| dir.join(self.plugin)).find(|path| path.is_file());
        found.ok_or_else(|| {
            let dirs: Vec<String> = self.bin_dirs.iter().map(|dir| dir.display().to_string()).collect();
            format!("failed to find plugin \"{}\" in path [{}]", self.plugin, dirs.join(" "))
        })
    }
}

/// What a plugin that failed says: an error object on its output, or anything on the other.
fn complaint(answer: &[u8], words: &[u8]) -> String {
    let told: Value = serde_json::from_slice(answer).unwrap_or_default();
    if let Some(message) = told["msg"].as_str() {
        return match told["details"].as_str().filter(|details| !details.is_empty()) {
            Some(details) => format!("{message}; {details}"),
            None => message.to_owned(),
        };
    }
    let text = String::from_utf8_lossy(if words.is_empty() { answer } else { words });
    let text: String = text.trim().chars().take(WORDS_MAX).collect();
    if text.is_empty() { "it says nothing".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints() {
        for (answer, words, want) in [
            (r#"{"code":7,"msg":"no range","details":"10.0.0.0/24"}"#, "", "no range; 10.0.0.0/24"),
            (r#"{"code":7,"msg":"no range"}"#, "log", "no range"),
            ("not json", "panic: x\n", "panic: x"),
            ("not json", "", "not json"),
            ("", "", "it says nothing"),
        ] {
            assert_eq!(complaint(answer.as_bytes(), words.as_bytes()), want);
        }
    }
}
