// SPDX-License-Identifier: GPL-2.0-or-later
//! Sets the linker's options. With the feature `generate`, also writes `src/host.rs`
//! from `include/tcl_host.h` (bindgen), `include/tcp_conn_limit.h` from `src/`
//! (cbindgen), and the lists of counters in the documentation from
//! `src/observe/counters/descriptions.rs`, below the directory in `TCL_GENERATE_DIR`, by
//! default the crate's. All results are committed, so that building the library needs
//! neither libclang nor these crates; `make check-generated` checks that they are up to
//! date.

// Only the number of the ABI is used here; the other constants are those of the library.
#[allow(dead_code, unreachable_pub)]
#[path = "src/ffi/codes.rs"]
mod codes;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The file name by which the module asks the dynamic linker for the library.
    let soname = format!("libtcp_conn_limit.so.{}", codes::TCL_ABI);
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    // Hardening: relocations are resolved at load time and made read-only.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
    // Never unloaded, because the host's calls may lead here (src/interpose.rs).
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    #[cfg(feature = "generate")]
    generate::all();
}

#[cfg(feature = "generate")]
#[path = "src/observe/counters/descriptions.rs"]
#[allow(dead_code, unreachable_pub)]
mod descriptions;

#[cfg(feature = "generate")]
mod generate {
    use std::path::{Path, PathBuf};

    use crate::descriptions::{COUNTERS, Description, Kind};

    const METRICS: &str = "kamailio-glue/monitoring/metrics.md";
    const DOCBOOK: &str = "kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_counters.xml";
    const NOTICE: &str = "Generated from SOURCE by `make generate`; do not edit.";

    pub(crate) fn all() {
        println!("cargo::rerun-if-changed=include/tcl_host.h");
        println!("cargo::rerun-if-changed=src");
        println!("cargo::rerun-if-changed={METRICS}");
        println!("cargo::rerun-if-changed={DOCBOOK}");
        println!("cargo::rerun-if-env-changed=TCL_GENERATE_DIR");
        let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
        let out = std::env::var_os("TCL_GENERATE_DIR").map_or_else(|| root.clone(), PathBuf::from);
        host(&root, &out);
        header(&root, &out);
        list_counters(&root, &out, METRICS, METRICS_HEAD, metrics_row);
        list_counters(&root, &out, DOCBOOK, "", docbook_entry);
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
        const SOURCES: [&str; 21] = [
            "ffi/codes.rs",
            "ffi/version.rs",
            "ffi/config.rs",
            "ffi/init.rs",
            "ffi/rules_load.rs",
            "ffi/control.rs",
            "ffi/watch.rs",
            "ffi/check.rs",
            "ffi/accept.rs",
            "ffi/listeners.rs",
            "ffi/interpose.rs",
            "ffi/reports.rs",
            "ffi/rules.rs",
            "ffi/restraints.rs",
            "ffi/shield.rs",
            "ffi/cluster.rs",
            "ffi/trust.rs",
            "ffi/moves.rs",
            "ffi/load.rs",
            "ffi/networks.rs",
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

    const METRICS_HEAD: &str = "| metric | kind | unit | help |\n|---|---|---|---|\n";

    /// Copies a file of the documentation, with `head` and an entry for each counter
    /// between its two markers.
    fn list_counters(
        root: &Path,
        out: &Path,
        file: &str,
        head: &str,
        entry: fn(&Description) -> String,
    ) {
        let list: String = COUNTERS.iter().map(entry).collect();
        const SOURCE: &str = "src/observe/counters/descriptions.rs";
        let begin = format!("<!-- {} -->\n", NOTICE.replace("SOURCE", SOURCE));
        const END: &str = "<!-- End of the generated part. -->";
        let text = std::fs::read_to_string(root.join(file)).expect(file);
        let parts = text.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some((before, after))
        });
        let (before, after) = parts.unwrap_or_else(|| panic!("{file} has no {begin:?}, {END:?}"));
        let text = format!("{before}{begin}{head}{list}{END}{after}");
        std::fs::write(out.join(file), text).expect(file);
    }

    fn kind(counter: &Description) -> &'static str {
        match counter.kind {
            Kind::Counter => "counter",
            Kind::Sampled => "gauge, sampled",
            Kind::Setting => "gauge, setting",
            Kind::Fixed => "gauge, fixed",
        }
    }

    fn capitalized(phrase: &str) -> String {
        let (first, rest) = phrase.split_at(1);
        first.to_uppercase() + rest
    }

    /// The meaning and the note as sentences.
    fn sentences(counter: &Description) -> String {
        let sentences = format!("{}. {}", capitalized(counter.meaning), counter.note);
        sentences.trim_end().to_owned()
    }

    /// The row of a counter in the table of metrics.
    fn metrics_row(counter: &Description) -> String {
        let name = counter.name.to_str().expect("ASCII");
        format!(
            "| `kamailio_tcp_conn_limit_{name}` | {} | {} | {} |\n",
            kind(counter),
            counter.unit,
            sentences(counter)
        )
    }

    /// The entry of a counter in the DocBook list.
    fn docbook_entry(counter: &Description) -> String {
        let name = counter.name.to_str().expect("ASCII");
        let unit = match counter.unit {
            "" => String::new(),
            unit => format!("; unit: {unit}"),
        };
        let text = sentences(counter)
            .replace('&', "&amp;")
            .replace('<', "&lt;");
        format!(
            "\t\t<varlistentry id=\"tcp_conn_limit.c.{name}\"><term>{name}</term>\n\
             \t\t\t<listitem><para>{text} {}{unit}.</para></listitem></varlistentry>\n",
            capitalized(kind(counter))
        )
    }
}
