//! What an operator writes.

bellwether_plugin::endpoint_config! {
    /// Configuration of one check.
    pub struct Config {
        /// Speak TLS from the start.
        pub tls: Option<bool>,
        /// Service to ask about; the whole server where absent.
        pub service: Option<String>,
        /// Name in `:authority`; host and port where absent.
        pub authority: Option<String>,
    }
}

/// JSON Schema of [`Config`].
pub const SCHEMA: &str = bellwether_plugin::endpoint_schema!(
    port: r##""default":50051"##,
    required: "[]",
    own: r##"
"tls":{"type":"boolean","default":false,"title":"TLS","description":"speak TLS from the start; false: HTTP/2 with prior knowledge"},
"service":{"type":"string","maxLength":1024,"default":"","title":"Service","description":"full name of the service to ask about; empty: the server as a whole"},
"authority":{"type":"string","maxLength":255,"title":"Authority","description":"name that the server is asked for, where it is not host and port","examples":["grpc.example.org"]}"##,
);
