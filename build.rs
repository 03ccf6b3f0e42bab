// SPDX-License-Identifier: GPL-2.0-or-later
//! Sets the linker's options. With the feature `generate`, also writes `src/host.rs`
//! from `include/tcl_host.h` (bindgen) and `include/tcp_conn_limit.h` from `src/`
//! (cbindgen), below the directory in `TCL_GENERATE_DIR`, by default the crate's. Both
//! results are committed, so that building the library needs neither libclang nor these
//! crates; `make check-generated` checks that they are up to date.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The name by which the module asks the dynamic linker for the library.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtcp_conn_limit.so");
    // Hardening: relocations are resolved at load time and made read-only.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
    // Never unloaded: the host's calls may lead here (src/interpose.rs).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    #[cfg(feature = "generate")]
    generate::all();
}

#[cfg(feature = "generate")]
mod generate {
    use std::path::{Path, PathBuf};

    const NOTICE: &str = "Generated from SOURCE by `make generate`; do not edit.";

    pub(crate) fn all() {
        println!("cargo::rerun-if-changed=include/tcl_host.h");
        println!("cargo::rerun-if-changed=src");
        println!("cargo::rerun-if-env-changed=TCL_GENERATE_DIR");
        let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
        let out = std::env::var_os("TCL_GENERATE_DIR").map_or_else(|| root.clone(), PathBuf::from);
        host(&root, &out);
        header(&root, &out);
    }

    /// Generates `src/host.rs` from C.
    fn host(root: &Path, out: &Path) {
        bindgen::Builder::default()
            .header(root.join("include/tcl_host.h").to_string_lossy())
            .allowlist_item("(tcl|TCL)_.*")
            .use_core()
            .layout_tests(false) // the file serves every target
            .disable_header_comment()
            .raw_line("// SPDX-License-Identifier: GPL-2.0-or-later")
            .raw_line(format!(
                "// {}",
                NOTICE.replace("SOURCE", "include/tcl_host.h")
            ))
            .raw_line("//! The host's functions and constants that the library uses.")
            .raw_line("#![allow(missing_docs, unreachable_pub)]")
            .formatter(bindgen::Formatter::Prettyplease)
            .generate()
            .expect("bindgen reads include/tcl_host.h")
            .write_to_file(out.join("src/host.rs"))
            .expect("write src/host.rs");
    }

    /// The contract of all functions: the last section of the docs of `src/ffi.rs`.
    fn contract(root: &Path) -> String {
        let text = std::fs::read_to_string(root.join("src/ffi.rs")).expect("read src/ffi.rs");
        let own = text.lines().map_while(|line| line.strip_prefix("//"));
        let own = own.skip_while(|line| *line != "! # The contract").skip(2);
        let lines = own.map(|line| format!(" *{}\n", line.replacen('!', "", 1)));
        let lines = lines
            .collect::<String>()
            .replace("[`", "`")
            .replace("`]", "`");
        assert!(!lines.is_empty(), "src/ffi.rs has a section: The contract");
        format!("/**\n * The contract:\n *\n{lines} */")
    }

    /// Generates `include/tcp_conn_limit.h` from Rust.
    fn header(root: &Path, out: &Path) {
        let config = cbindgen::Config {
            language: cbindgen::Language::C,
            header: Some(format!(
                "/* SPDX-License-Identifier: GPL-2.0-or-later */\n/* {} */",
                NOTICE.replace("SOURCE", "src/ffi")
            )),
            include_guard: Some("TCP_CONN_LIMIT_H".into()),
            includes: vec!["tcl_host.h".into()],
            no_includes: true,
            sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
            after_includes: Some(format!(
                "\n#define TCL_VERSION \"{}\"\n\n{}\n\n/* Kamailio's, core/ip_addr.h: a struct sockaddr_in or sockaddr_in6. */\nunion sockaddr_union;",
                env!("CARGO_PKG_VERSION"),
                contract(root)
            )),
            documentation_style: cbindgen::DocumentationStyle::Doxy,
            style: cbindgen::Style::Tag,
            export: cbindgen::ExportConfig {
                exclude: vec!["tcl_host".into(), "sockaddr_union".into()],
                rename: [
                    ("tcl_host".into(), "struct tcl_host".into()),
                    ("sockaddr_union".into(), "union sockaddr_union".into()),
                ]
                .into(),
                ..Default::default()
            },
            ..Default::default()
        };
        const SOURCES: [&str; 6] = [
            "ffi.rs",
            "ffi/control.rs",
            "ffi/accept.rs",
            "ffi/interpose.rs",
            "ffi/reports.rs",
            "ffi/audit.rs",
        ];
        SOURCES
            .into_iter()
            .fold(cbindgen::Builder::new(), |builder, source| {
                builder.with_src(root.join("src").join(source))
            })
            .with_config(config)
            .generate()
            .expect("cbindgen reads src/ffi")
            .write_to_file(out.join("include/tcp_conn_limit.h"));
    }
}
