//! What `wit-bindgen` makes of `plugins/wit`. The types are shared: every world
//! refers to the host interfaces of [`host`], so a `net` error is one type in
//! probes, actions and notifiers alike. Plugins use the modules of the crate
//! root, which re-export all of it under shorter names.
//!
//! All worlds can live in one crate, without features: with
//! `pub_export_macro` the description of a world's exports is embedded where
//! the export macro is used, and imports that nothing calls are dropped when
//! the component is made.

/// Host interfaces and the shared types.
pub mod host {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package bellwether:sdk;
            world host {
                import bellwether:plugin/types@0.1.0;
                import bellwether:plugin/log@0.1.0;
                import bellwether:plugin/net@0.1.0;
                import bellwether:plugin/state@0.1.0;
                import bellwether:plugin/command@0.1.0;
                import bellwether:plugin/secrets@0.1.0;
                import bellwether:plugin/system@0.1.0;
                import bellwether:plugin/files@0.1.0;
            }
        ",
        generate_all,
        generate_unused_types: true,
        additional_derives: [Clone, PartialEq],
        type_section_suffix: "host",
    });
}

/// The probe world.
pub mod probe {
    wit_bindgen::generate!({
        path: "../wit",
        world: "probe-plugin",
        with: {
            "bellwether:plugin/types@0.1.0": crate::bindings::host::bellwether::plugin::types,
            "bellwether:plugin/log@0.1.0": crate::bindings::host::bellwether::plugin::log,
            "bellwether:plugin/net@0.1.0": crate::bindings::host::bellwether::plugin::net,
            "bellwether:plugin/state@0.1.0": crate::bindings::host::bellwether::plugin::state,
            "bellwether:plugin/secrets@0.1.0": crate::bindings::host::bellwether::plugin::secrets,
            "bellwether:plugin/system@0.1.0": crate::bindings::host::bellwether::plugin::system,
            "bellwether:plugin/files@0.1.0": crate::bindings::host::bellwether::plugin::files,
        },
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "bellwether_plugin::bindings::probe",
        type_section_suffix: "probe",
    });
}

/// The log parser world.
pub mod log_parser {
    wit_bindgen::generate!({
        path: "../wit",
        world: "log-parser-plugin",
        with: {
            "bellwether:plugin/types@0.1.0": crate::bindings::host::bellwether::plugin::types,
            "bellwether:plugin/log@0.1.0": crate::bindings::host::bellwether::plugin::log,
        },
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "bellwether_plugin::bindings::log_parser",
        type_section_suffix: "log-parser",
    });
}

/// The action world.
pub mod action {
    wit_bindgen::generate!({
        path: "../wit",
        world: "action-plugin",
        with: {
            "bellwether:plugin/types@0.1.0": crate::bindings::host::bellwether::plugin::types,
            "bellwether:plugin/log@0.1.0": crate::bindings::host::bellwether::plugin::log,
            "bellwether:plugin/net@0.1.0": crate::bindings::host::bellwether::plugin::net,
            "bellwether:plugin/state@0.1.0": crate::bindings::host::bellwether::plugin::state,
            "bellwether:plugin/secrets@0.1.0": crate::bindings::host::bellwether::plugin::secrets,
            "bellwether:plugin/system@0.1.0": crate::bindings::host::bellwether::plugin::system,
            "bellwether:plugin/files@0.1.0": crate::bindings::host::bellwether::plugin::files,
            "bellwether:plugin/command@0.1.0": crate::bindings::host::bellwether::plugin::command,
        },
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "bellwether_plugin::bindings::action",
        type_section_suffix: "action",
    });
}

/// The notifier world.
pub mod notifier {
    wit_bindgen::generate!({
        path: "../wit",
        world: "notifier-plugin",
        with: {
            "bellwether:plugin/types@0.1.0": crate::bindings::host::bellwether::plugin::types,
            "bellwether:plugin/log@0.1.0": crate::bindings::host::bellwether::plugin::log,
            "bellwether:plugin/net@0.1.0": crate::bindings::host::bellwether::plugin::net,
            "bellwether:plugin/state@0.1.0": crate::bindings::host::bellwether::plugin::state,
            "bellwether:plugin/secrets@0.1.0": crate::bindings::host::bellwether::plugin::secrets,
        },
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "bellwether_plugin::bindings::notifier",
        type_section_suffix: "notifier",
    });
}
