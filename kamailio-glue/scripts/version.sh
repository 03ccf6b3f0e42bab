# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The version of our own packages, which grows with the code. Sourced, after common.sh.

# git_here ARGUMENT...: runs git in the project, also if another user owns it.
git_here() {
    git -c safe.directory="$root" -C "$root" "$@"
}

# Succeeds if the project is a git checkout, and not a folder in one.
in_checkout() {
    [ -e "$root/.git" ] && git_here rev-parse --quiet --verify HEAD >/dev/null 2>&1
}

# All that is built or packed. Packages and Kamailio's sources may also lie in the project.
code=(Cargo.toml Cargo.lock build.rs include kamailio-glue src)

# Prints the names of the files of the code that differ from the last commit.
changed_files() {
    git_here diff --name-only --no-renames HEAD -- "${code[@]}"
    git_here ls-files --others --exclude-standard -- "${code[@]}"
}

# Prints the time of the code, in seconds since 1970: that of the newest change, or
# without changes that of the last commit. So the same code gives the same package.
code_time() {
    local changed
    if ! in_checkout; then
        stat --format=%Y "$root/Cargo.toml"
        return
    fi
    changed=$(cd "$root" && changed_files | xargs --no-run-if-empty --delimiter='\n' \
        stat --format=%Y -- 2>/dev/null | sort -n | tail -n 1) || true
    printf '%s\n' "${changed:-$(git_here log -1 --format=%ct)}"
}

# Prints the version of our code, without that of the server. It is 0.1.0 for the tag
# v0.1.0, and for code without git. 0.1.0~20261127163000 is code on the way to 0.1.0, and
# 0.1.0+20261127163000 code after the tag, with its time. dpkg and rpm sort them so. The
# package's changelog or description names the commit.
own_version() {
    local version relation="~" tag
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
    if in_checkout; then
        tag=$(git_here rev-parse --quiet --verify "v$version^{commit}" || true)
        if [ -n "$tag" ] && git_here merge-base --is-ancestor "$tag" HEAD; then
            relation=+
        fi
        if [ "$tag" != "$(git_here rev-parse HEAD)" ] || [ -n "$(changed_files)" ]; then
            version+=$relation$(date --utc --date="@$(code_time)" +%Y%m%d%H%M%S)
        fi
    fi
    printf '%s\n' "$version"
}

# Prints what the package is built from.
code_origin() {
    if in_checkout; then
        echo "commit $(git_here rev-parse --short=12 HEAD)$([ -z "$(changed_files)" ] || echo ", with changes")"
    else
        echo "an archive of the sources"
    fi
}
