#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The language check of make lint: it finds an example of each phrase and a spelling
# error, in prose, comments and strings.

source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

scripts=$root/kamailio-glue/scripts

# NAME EXAMPLE, at least one for each phrase of language.sh.
examples=$(
    cat <<'END'
who        Whoever has the lock may write.
who        Who has new rules writes them first.
who        A slot is free for who comes next.
what       What cannot be counted is admitted.
none       It fails for an address that is none.
none       Of these are of none more than two.
is-no      It fails if the text is no address.
told       An error is told in the log.
told       The line tells of the limit.
place      The table has no place for it.
place      There are two places in the bucket.
anew       The file is read anew.
anew       The registry keeps it for ever.
nobody     The lock is held by nobody.
nobody     Somebody else has the port.
he         A process writes what he has read.
too        The hooks do this, too.
neither    By the limit of the core neither.
also       A ban hits also the connections within the limit.
is-to      The rule is to be checked first.
is-to      Connections are not to get lost.
own        It is a process of the module's own.
own        These lines of the log are new.
own        This is for a Kamailio of packages.
by         The module is attached by hooks.
beside     The log lies beside the stamp.
made-for   The table is made for a million sources.
go-by      This is the limit that it goes by.
so-many    It runs for so many seconds.
take-off   The token is taken off by its holder.
for        It stops, for there is no room.
for        It waits, for the lock is held.
archaic    It shows 400 at the most.
archaic    The table fills by and by.
vocabulary The old rules stay in force.
vocabulary The source has MOST_RULES rules.
END
)

# finds NAME FILE: checks that `list` and `check` report the phrase NAME in FILE.
finds() {
    says ": $1: " "$scripts/language.sh" list "$PWD/$2"
    refused ": $1: " "$scripts/language.sh" check "$PWD/$2"
}

# passes FILE: checks that `check` reports nothing in FILE.
passes() {
    "$scripts/language.sh" check "$PWD/$1"
}

test_each_phrase_is_found() {
    local name example number=0
    # All files are checked at once, since the spell checker starts slowly.
    while read -r name example; do
        number=$((number + 1))
        printf 'A title\n\n%s It goes on.\n' "$example" >"$number-prose.md"
        printf '# %s\ntrue\n' "$example" >"$number-comment.sh"
        printf '/// %s\nfn main() {}\n' "$example" >"$number-comment.rs"
        printf 'int x; /* %s */\n' "$example" >"$number-comment.c"
        printf 'fn main() { print("%s"); }\n' "$example" >"$number-string.rs"
        printf '%s\n' "$PWD/$number-"{prose.md,comment.sh,comment.rs,comment.c,string.rs}:" $name" >>expected
    done <<<"$examples"
    "$scripts/language.sh" list "$PWD"/*-* | sed -E 's/:[0-9]+: ([a-z-]+):.*/: \1/' | sort -u >found
    sort -u expected | comm -23 - found >missing
    if [ -s missing ]; then
        cat missing
        return 1
    fi
    refused "phrases that CONTRIBUTING.md asks to avoid" "$scripts/language.sh" check "$PWD"/*-*
}

test_each_phrase_has_an_example() {
    sed -n "/^phrases=/,/^END/ { /^[a-z-]* *[^ ]/ s/ .*//p }" "$scripts/language.sh" |
        grep -v -e '^phrases' -e '^$' | sort -u >phrases
    [ "$(wc -l <phrases)" -gt 20 ]
    cut -d ' ' -f 1 <<<"$examples" | sort -u | diff phrases -
}

test_phrase_across_two_lines_is_found() {
    printf '/// An address that is\n/// none of ours.\nfn main() {}\n' >broken.rs
    finds none broken.rs
    printf 'An address that is\nnone of ours.\n' >broken.md
    finds none broken.md
}

test_line_number_is_that_of_the_phrase() {
    printf 'fn main() {\n    print("a\\"b", %s);\n}\n// It is read anew.\n' "'\"'" >quotes.rs
    says "quotes.rs:4: anew: " "$scripts/language.sh" list "$PWD/quotes.rs"
}

test_code_is_not_checked() {
    printf 'fn told(place: u8) -> u8 { let so_many = place; he }\n' >code.rs
    passes code.rs
}

test_plain_english_passes() {
    cat >plain.md <<-'END'
		A source over a lowered limit keeps its connections but cannot open another.
		There is no slot for it. Who wrote this, and who is on call? The limit
		takes place once. It is no longer there, so it is also logged.
	END
    passes plain.md
}

test_spelling_error_is_found() {
    echo "The server recieves a connection." >spelling.md
    refused "receives" "$scripts/language.sh" check "$PWD/spelling.md"
}

test_counts_are_shown_for_each_phrase() {
    printf 'It is read anew and anew.\nNobody does.\n' >some.md
    says "2 anew" "$scripts/language.sh" count "$PWD/some.md"
    says "3 in total" "$scripts/language.sh" count "$PWD/some.md"
}

test_allowed_line_passes() {
    mkdir -p project/kamailio-glue
    cp -r "$scripts" project/kamailio-glue/
    echo "The user is nobody." >project/text.md
    refused ": nobody: " project/kamailio-glue/scripts/language.sh check text.md
    echo "text.md: user is nobody" >>project/kamailio-glue/scripts/language.allow
    project/kamailio-glue/scripts/language.sh check text.md
    echo "Nobody reads it." >>project/text.md
    refused "text.md:2: nobody: " project/kamailio-glue/scripts/language.sh check text.md
}

test_tracked_files_pass() {
    "$scripts/language.sh" check
}

run_tests
