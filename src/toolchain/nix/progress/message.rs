//! The messages of nix, in the form that `--log-format internal-json` has.
//!
//! * In: the object of one line.
//! * Out: a [`Message`].
//! * Never: a decision about the message.
//!
//! Each message of nix is a line of standard error, `@nix ` and an object (nix 2.26 to 2.34.8,
//! `JSONLogger`):
//!
//! | `action` | members |
//! |---|---|
//! | `start` | `id`, `level`, `type`, `text`, `parent`, `fields`: an activity begins |
//! | `stop` | `id` |
//! | `result` | `id`, `type`, `fields`: output of an activity |
//! | `msg` | `level`, `msg`; an error also has `raw_msg`, which no other message has |

use serde::Deserialize;
use serde_json::Value;

/// The beginning of every message.
pub const MESSAGE_START: &[u8] = b"@nix ";

/// The most verbose level that nix prints by default (nix, `Verbosity`).
pub const INFO: u64 = 3;
/// The level of warnings.
pub const WARN: u64 = 1;

/// The digit of [`INFO`] in a message.
pub const LAST_SHOWN_DIGIT: u8 = b'3';

/// The lowest level of messages about downloads (nix, `lvlDebug`); headers have the next one.
pub const DEBUG: u64 = 6;

/// The beginning of a message of any level.
pub const MSG_START: &[u8] = b"@nix {\"action\":\"msg\",\"level\":";

/// The activity of copying a path (nix, `ActivityType`, as the others).
pub const COPY_PATH: u64 = 100;

/// The activity of a download or upload.
pub const FILE_TRANSFER: u64 = 101;

/// The activity of all that the daemon builds and substitutes for one request.
pub const REALISE: u64 = 102;

/// The activity of one build.
pub const BUILD: u64 = 105;

/// The activity of one substitution.
pub const SUBSTITUTE: u64 = 108;

/// The activity of asking a cache about a path.
pub const QUERY_PATH_INFO: u64 = 109;

/// The activity of a hook after a build.
pub const POST_BUILD_HOOK: u64 = 110;

/// The activity of waiting for a lock or a machine.
pub const BUILD_WAITING: u64 = 111;

/// The activity of fetching an input.
pub const FETCH_TREE: u64 = 112;

/// The result that is a line of a build log (nix, `ResultType`, as the others).
pub const BUILD_LOG_LINE: u64 = 101;

/// The result that names the phase of a build.
pub const SET_PHASE: u64 = 104;

/// The result that is a line of a hook's log.
pub const POST_BUILD_LOG_LINE: u64 = 107;

/// One message that nix prints.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Message {
    /// Reports that an activity begins.
    Start(Start),
    /// Reports that an activity ends.
    Stop {
        /// The id of the activity.
        id: u64,
    },
    /// Reports output of an activity.
    Result {
        /// The id of the activity.
        id: u64,
        /// The kind of the output.
        #[serde(rename = "type")]
        kind: u64,
        /// The values of the output.
        #[serde(default)]
        fields: Vec<Value>,
    },
    /// Reports something without an activity.
    Msg {
        /// The level, 0 for errors.
        level: u64,
        /// The text, as a terminal shows it.
        msg: String,
        /// The raw text of an error; no other message has one.
        raw_msg: Option<String>,
    },
}

/// The beginning of an activity.
#[derive(Deserialize)]
pub struct Start {
    /// The id of the activity.
    pub id: u64,
    /// The level from which the activity is shown.
    pub level: u64,
    /// The kind of the activity.
    #[serde(rename = "type")]
    pub kind: u64,
    /// The text that describes the activity.
    pub text: String,
    /// The id of the activity that this one is part of.
    pub parent: u64,
    /// The values of the activity.
    #[serde(default)]
    pub fields: Vec<Value>,
}

impl Start {
    /// Returns a value that is a text.
    pub fn field(&self, index: usize) -> Option<&str> {
        self.fields.get(index)?.as_str()
    }
}
