# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The listings of the module's README. Sourced, by a script that sets root.

recipes_doc=$root/kamailio-glue/tcp_conn_limit/doc

# recipe NAME: prints a listing of the cookbook, of the chapter about bans, or
# of the one about proxies.
recipe() {
    cat "$recipes_doc"/tcp_conn_limit_{cookbook,bans,proxies}.xml | perl -0777 -ne '
        m{<programlisting [^>]*id="tcp_conn_limit\.recipe\.'"$1"'">\n(.*?)</programlisting>}s
            or die "no recipe '"$1"'\n";
        my $text = $1;
        $text =~ s/^\.\.\.\n//mg;
        $text =~ s/&kamcmd;/kamcmd/g;
        $text =~ s/&lt;/</g;
        $text =~ s/&gt;/>/g;
        $text =~ s/&amp;/&/g;
        print $text;
    '
}
