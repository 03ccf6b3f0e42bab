# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The listings of the module's cookbook. Sourced, by a script that sets root.

cookbook=$root/kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_cookbook.xml

# recipe NAME: prints a listing of the cookbook.
recipe() {
    perl -0777 -ne '
        m{<programlisting [^>]*id="tcp_conn_limit\.recipe\.'"$1"'">\n(.*?)</programlisting>}s
            or die "no recipe '"$1"'\n";
        my $text = $1;
        $text =~ s/^\.\.\.\n//mg;
        $text =~ s/&kamcmd;/kamcmd/g;
        $text =~ s/&lt;/</g;
        $text =~ s/&gt;/>/g;
        $text =~ s/&amp;/&/g;
        print $text;
    ' "$cookbook"
}
