//! The HTTP API of the patterns: routes, conventions, and the document that describes them.
//!
//! It holds no behaviour of a pattern: each route asks a pattern's public handle. What all patterns' routes share
//! stands beside them: who may ask at all ([`callers`]), errors as problem details ([`problem`]), positions and freshness in
//! headers ([`freshness`]).
//!
//! ```text
//! GET /openapi.json   the API in OpenAPI 3.1
//! GET /docs           a page to try it
//! ```

pub mod bounds;
pub mod callers;
mod docs;
mod duration;
pub mod events;
mod extract;
mod freshness;
mod problem;
mod route;

pub use events::HttpPeer;
pub use problem::Problem;
pub use route::tell_route;
