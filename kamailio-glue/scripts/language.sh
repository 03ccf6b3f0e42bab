#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Checks the language of prose, comments and strings: language.sh check|list|count [FILE...]
#   check   fails on a spelling error, or on a phrase below
#   list    prints where the phrases are
#   count   prints how often each phrase occurs
# Without FILE, all tracked files are read.
#
# CONTRIBUTING.md says what to write instead. language.allow lists the exceptions.
#
# Needs: git, perl, codespell.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

# All files that hold text of this project.
covered=(
    .ci Cargo.toml Makefile '*.md' build.rs deny.toml docs include kamailio-glue src tests
)

# Generated or recorded files, and the files that contain the phrases as data.
excluded=(
    LICENSE '*Cargo.lock' '*.svg'
    include/tcp_conn_limit.h src/host.rs kamailio-glue/tcp_conn_limit/README
    'tests/bench/*.json' 'tests/fuzz/seeds/*' 'tests/*proptest-regressions*'
    kamailio-glue/scripts/language.sh kamailio-glue/scripts/language.allow
    tests/setup/test_language.sh
)

allow=kamailio-glue/scripts/language.allow

# Words that codespell would report as errors.
known_words=atleast,clos,crate,extraversion,ndoes,ser,siz

# NAME REGEX: Perl's syntax. A space also matches a line break in a comment.
phrases=$(
    cat <<'END'
who        \bwhoever\b
who        (?:(?-i:\bWho)|(?:[.;:(]|\b(?:and|or|but|for|by|to|of|from|that|than|as)) who) (?:is|has|does|was|had|can|may|must|wants|needs|knows|comes|goes|gets|takes|gives|holds|keeps|reads|writes|asks|sees|sets|uses|builds|runs|waits)\b(?![^.;]*\?)
what       (?-i:\bWhat) (?:is|was|has|does|comes|goes|cannot|can|may|must|nobody)\b(?![^.;]*\?)
none       (?<!there )\b(?:is|are|was|were|be) none\b|\bof none\b
is-no      (?<!there )\b(?:is|are|was) no (?!longer|more|less|other|such)[a-z]
told       \b(?:told|tells|tell of)\b
place      (?<!in )(?<!take )(?<!takes )(?<!took )(?<!decimal )\bplaces?\b
anew       \banew\b|\bfor ever\b
nobody     \b(?:nobody|somebody|anybody|everybody)\b
he         \b(?:he|him|his|himself)\b
too        , too\b(?= ?[.,;:)]|$)
neither    \bneither(?=[.;)])
also       \b(?!is\b|was\b|has\b|does\b|this\b|as\b)[a-z]+s also (?:the|an?|those|what|at|in|of|for)\b
is-to      \b(?:is|are|was|were) (?:not )?to (?:be|have|stay|get|see|go|happen|hold|keep|come|take|give|run|stand)\b
own        \bof the [a-z]+'s own\b|\blines? of the log\b|\bfile of rules\b|\b(?:servers?|Kamailio) of packages\b
by         \bby (?:hooks|interpose|RST|ctl)\b
beside     \bbeside\b
made-for   \bmade for\b
go-by      \bgo(?:es)? by\b
so-many    \bso many\b
take-off   \b(?:tak(?:e|es|en|ing)|took) (?:it |that |one )?off\b
for        [,;:] for (?:it|there|they|he|we|otherwise|then)\b|[,;:] for the [a-z]+ (?:is|are|was|has|have|must|may|can|cannot|does)\b
archaic    \bput by\b|\bat the most\b|\bby and by\b|\bas ever\b
vocabulary \bin force\b|\bMOST_|\brecount|\bhome (?:row|cell)|\bturn(?:s|ed)? away\b
END
)

# Reads files and prints FILE:LINE: NAME: TEXT for each phrase. Of Rust and C it reads
# only comments and strings.
program=$(
    cat <<'END'
use strict;
use warnings;

my $comment = qr{//[^\n]*|/\*.*?\*/}s;
my $string = qr{\br(#*)".*?"\g{-1}|"(?:[^"\\]|\\.)*"}s;
my $character = qr{'(?:[^'\\\n]|\\[^'\n]+|\\')'};

sub text_of_code {
    my ($code) = @_;
    my $text = '';
    while ($code =~ m{\G(?:(?<keep>$comment|$string)|(?<drop>$character)|(?<other>.))}gcs) {
        if (defined $+{keep}) {
            $text .= $+{keep};
        } elsif (defined $+{other} && $+{other} eq "\n") {
            $text .= "\n";
        } else {
            $text .= "\x01";
        }
    }
    return $text;
}

my @phrases;
for (split /\n/, $ENV{PHRASES}) {
    my ($name, $regex) = /^(\S+)\s+(.*)$/ or die "phrase: $_";
    my $gap = '(?:\s+(?:(?://[/!]?|\#|\*)\s+)?)';
    # A lookbehind must not vary much in length: its spaces stay.
    $regex =~ s{(\(\?<[=!].*?\))| }{defined $1 ? $1 : $gap}ge;
    push @phrases, [$name, qr{$regex}im];
}

my %allowed;
open my $allow, '<', $ENV{ALLOW} or die "$ENV{ALLOW}: $!";
while (<$allow>) {
    chomp;
    next if /^(#|$)/;
    my ($file, $text) = /^(\S+): (.+)$/ or die "$ENV{ALLOW}: not FILE: TEXT: $_";
    push @{$allowed{$file}}, $text;
}

local $/ = "\0";
while (my $file = <STDIN>) {
    chomp $file;
    open my $handle, '<', $file or die "$file: $!";
    local $/;
    my $all = <$handle>;
    my $text = $file =~ /\.(rs|c|h)$/ ? text_of_code($all) : $all;
    my @lines = split /\n/, $all;
    for my $phrase (@phrases) {
        my ($name, $regex) = @$phrase;
        while ($text =~ /$regex/g) {
            my $number = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
            my $line = $lines[$number - 1];
            next if grep { index($line, $_) >= 0 } @{$allowed{$file}};
            $line =~ s/^\s+//;
            print "$file:$number: $name: $line\n";
        }
    }
}
END
)

# tracked PATH...: prints the tracked files below PATH that are checked, each with a NUL.
tracked() {
    git ls-files -z -- "$@" "${excluded[@]/#/:(exclude)}"
}

find_phrases() {
    PHRASES=$phrases ALLOW=$allow perl -e "$program"
}

# files PATH...: prints the FILE arguments of the script, or, without any, the tracked
# files below PATH, each with a NUL.
files() {
    if [ ${#arguments[@]} -gt 0 ]; then
        printf '%s\0' "${arguments[@]}"
    else
        tracked "$@"
    fi
}

check() {
    local found bad=0
    if ! files "${covered[@]}" | xargs -0 codespell --ignore-words-list="$known_words" >&2; then
        say "error: spelling: correct the words above, or add one to known_words in kamailio-glue/scripts/language.sh"
        bad=1
    fi
    found=$(files "${covered[@]}" | find_phrases)
    if [ -n "$found" ]; then
        say "$found"
        say "error: $(wc -l <<<"$found") phrases that CONTRIBUTING.md asks to avoid: rewrite them, or add exceptions to $allow"
        bad=1
    fi
    return "$bad"
}

count() {
    local found
    found=$(files "${covered[@]}" | find_phrases)
    cut -d ' ' -f 2 <<<"$found" | tr -d : | sort | uniq -c | sort -rn
    printf '%7d in total\n' "$(grep -c . <<<"$found" || true)"
}

command=${1-}
arguments=("${@:2}")
case $command in
    check) check ;;
    list) files "${covered[@]}" | find_phrases ;;
    count) count ;;
    *) fail "usage: language.sh check|list|count [FILE...]" ;;
esac
