// SPDX-License-Identifier: GPL-2.0-or-later
//! Compiles the module's C that reads what operators write, as it is, against the
//! headers of a Kamailio source tree. By clang: gcc has no coverage that libFuzzer
//! reads.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-env-changed=TCL_FUZZ_TREE");
    let tree = env::var("TCL_FUZZ_TREE")
        .expect("TCL_FUZZ_TREE: the path of a Kamailio source tree; `make fuzz` sets it");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let module = root.join("kamailio-glue/tcp_conn_limit");
    for file in ["tcm_text.c", "tcm_text.h"] {
        println!("cargo:rerun-if-changed={}", module.join(file).display());
    }
    cc::Build::new()
        .compiler("clang")
        .file(module.join("tcm_text.c"))
        // two folders below src, as the module is: it says ../../core/str.h
        .include(Path::new(&tree).join("src/core/mem"))
        .include(root.join("include"))
        .flag("-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp")
        // what is undefined, or beyond a buffer, ends the process; no runtime is needed
        .flag("-fsanitize=undefined")
        .flag("-fsanitize-trap=undefined")
        .flag("-D_FORTIFY_SOURCE=2")
        .compile("tcm_text");
}
