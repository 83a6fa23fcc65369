//! The generated messages, in modules nested as their packages are: generated code refers to other packages by path.
#![expect(
    clippy::pedantic,
    clippy::map_err_ignore,
    clippy::allow_attributes_without_reason,
    clippy::allow_attributes,
    reason = "generated code"
)]

pub(crate) mod google {
    //! google.*
    pub mod v1 {
        //! pprof.
        include!(concat!(env!("OUT_DIR"), "/google.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/google.v1.serde.rs"));
    }
}

pub(crate) mod types {
    //! types.*
    pub mod v1 {
        //! What the other packages share.
        include!(concat!(env!("OUT_DIR"), "/types.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/types.v1.serde.rs"));
    }
}

pub(crate) mod push {
    //! push.*
    pub mod v1 {
        //! Write requests.
        include!(concat!(env!("OUT_DIR"), "/push.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/push.v1.serde.rs"));
    }
}

pub(crate) mod querier {
    //! querier.*
    pub mod v1 {
        //! Read requests.
        include!(concat!(env!("OUT_DIR"), "/querier.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/querier.v1.serde.rs"));
    }
}

pub(crate) mod otlp {
    //! otlp.*
    #[expect(unreachable_pub, reason = "its reader lists what it gives on")]
    pub mod v1 {
        //! Profiles of OpenTelemetry.
        include!(concat!(env!("OUT_DIR"), "/otlp.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/otlp.v1.serde.rs"));
    }
}

pub(crate) mod stubs {
    //! stubs.*
    pub mod v1 {
        //! Answers with nothing in them.
        include!(concat!(env!("OUT_DIR"), "/stubs.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/stubs.v1.serde.rs"));
    }
}

pub(crate) mod settings {
    //! settings.*
    pub mod v1 {
        //! What pages keep.
        include!(concat!(env!("OUT_DIR"), "/settings.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/settings.v1.serde.rs"));
    }
}

pub(crate) mod adhocprofiles {
    //! adhocprofiles.*
    pub mod v1 {
        //! Uploaded profiles.
        include!(concat!(env!("OUT_DIR"), "/adhocprofiles.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/adhocprofiles.v1.serde.rs"));
    }
}
