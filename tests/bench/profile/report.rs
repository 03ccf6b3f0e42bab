// SPDX-License-Identifier: GPL-2.0-or-later

//! The table.

use crate::{Limit, Record};

pub(crate) fn print(record: &Record) {
    record.run.print();
    println!("{}", record.version);
    println!(
        "{} connections held; samples of TCP main's user time from perf (cpu-clock:u)\n",
        record.held
    );
    println!("                            user time, us per connection");
    println!("  limit    new/s  samples   all       in the limit");
    for profile in &record.profiles {
        println!(
            "  {:<6}  {:>6}  {:>7}   {:<8.1}  {:.1} = {:.1} %",
            match profile.limit {
                Limit::Stock => "stock",
                Limit::Module => "module",
            },
            profile.per_second,
            profile.user_samples,
            profile.cost(profile.user_samples),
            profile.cost(profile.limit_samples),
            profile.share(),
        );
    }
    record.run.print_quick();
}
