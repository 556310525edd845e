//! Types and host traits generated from `plugins/wit`.
//!
//! One world imports and exports everything, so that all kinds of plugin share
//! one linker and one set of types. Nothing is looked up at world level: kinds
//! are told apart by the interfaces a component exports.

wasmtime::component::bindgen!({
    path: "../plugins/wit",
    inline: "
        package bellwether:host;
        world everything {
            import bellwether:plugin/log@0.1.0;
            import bellwether:plugin/net@0.1.0;
            import bellwether:plugin/state@0.1.0;
            import bellwether:plugin/command@0.1.0;
            import bellwether:plugin/secrets@0.1.0;
            import bellwether:plugin/system@0.1.0;
            import bellwether:plugin/files@0.1.0;
            export bellwether:plugin/probe@0.1.0;
            export bellwether:plugin/log-parser@0.1.0;
            export bellwether:plugin/action@0.1.0;
            export bellwether:plugin/notifier@0.1.0;
        }
    ",
    world: "bellwether:host/everything",
    imports: {
        "bellwether:plugin/net": async | trappable,
        "bellwether:plugin/command": async | trappable,
        "bellwether:plugin/secrets": async | trappable,
        "bellwether:plugin/system": async | trappable,
        "bellwether:plugin/files": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "bellwether:plugin/net.tcp": crate::plugin::net_tcp::TcpConnection,
    },
});
