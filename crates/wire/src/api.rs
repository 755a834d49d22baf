//! The table of APIs.

use std::fmt;

use crate::{ApiKey, Message, Versions};

/// A request, which knows its API and its response.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Response;
}

/// A response, which knows its API.
pub trait Response: Message {
    const KEY: ApiKey;
}

/// What the schemas say of an API as a whole.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Facts {
    name: &'static str,
    versions: Versions,
    flexible: Option<i16>,
    unstable: bool,
}

impl Facts {
    pub(crate) const fn new(
        name: &'static str,
        min: i16,
        max: i16,
        flexible: Option<i16>,
        unstable: bool,
    ) -> Facts {
        Facts { name, versions: Versions { min, max }, flexible, unstable }
    }
}

impl ApiKey {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name, such as `Fetch`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// All versions that can be read and written, drafts included.
    pub const fn versions(self) -> Versions {
        self.facts().versions
    }

    /// The versions that a server may offer: without a draft at the end.
    pub const fn stable_versions(self) -> Versions {
        let Facts { versions, unstable, .. } = self.facts();
        Versions { min: versions.min, max: versions.max - unstable as i16 }
    }

    /// The first version with compact lengths and tagged fields.
    pub const fn flexible_since(self) -> Option<i16> {
        self.facts().flexible
    }

    /// Whether a version has compact lengths and tagged fields; also asked of versions that are too new.
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.flexible_since() {
            Some(since) => version >= since,
            None => false,
        }
    }

    /// The version of the request header in front of a request.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the response header in front of a response. ApiVersions always has the oldest: its
    /// reader cannot know yet what the writer speaks.
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            ApiKey::ApiVersions => 0,
            _ => self.is_flexible(version) as i16,
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<ApiKey> for i16 {
    fn from(key: ApiKey) -> i16 {
        key.code()
    }
}
