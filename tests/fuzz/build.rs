// SPDX-License-Identifier: GPL-2.0-or-later
//! Compiles the module's C that parses operators' text, unchanged, against the headers of a
//! Kamailio source tree. It uses clang, because gcc has no coverage that libFuzzer reads.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=TCL_FUZZ_TREE");
    let tree = env::var("TCL_FUZZ_TREE")
        .expect("TCL_FUZZ_TREE must be the path of a Kamailio source tree; `make fuzz` sets it");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let module = root.join("kamailio-glue/tcp_conn_limit");
    for file in ["tcm_text.c", "tcm_text.h"] {
        println!("cargo:rerun-if-changed={}", module.join(file).display());
    }
    cc::Build::new()
        .compiler("clang")
        .file(module.join("tcm_text.c"))
        // A folder two levels below src, like the module's: it includes ../../core/str.h.
        .include(Path::new(&tree).join("src/core/mem"))
        .include(root.join("include"))
        .flag("-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp")
        // Undefined behaviour and buffer overruns end the process. This needs no runtime.
        .flag("-fsanitize=undefined")
        .flag("-fsanitize-trap=undefined")
        .flag("-D_FORTIFY_SOURCE=2")
        .compile("tcm_text");
}
