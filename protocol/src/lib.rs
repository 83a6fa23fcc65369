//! The wire: the messages that agent, server and strangers' clients exchange, their JSON, and pprof decoded with limits.

mod wire;
pub mod json;
pub mod pprof;
pub mod otlp;

pub use wire::adhocprofiles::v1 as adhoc;
pub use wire::google::v1 as profile;
pub use wire::push::v1 as push;
pub use wire::querier::v1 as querier;
pub use wire::settings::v1 as settings;
pub use wire::stubs::v1 as stubs;
pub use wire::types::v1 as types;
