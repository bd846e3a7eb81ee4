# Unpacks archives with Perl's Archive::Tar. Reads pairs of archive and directory from standard input, each with a zero after it.
# Writes a line for each: 0, or 1 if it was refused.
use strict;
use warnings;
use Archive::Tar;

$Archive::Tar::WARN = 0;
$| = 1;
local $/ = "\0";
chomp(my @words = <STDIN>);
while (my ($archive, $directory) = splice(@words, 0, 2)) {
    chdir $directory or die "$directory: $!";
    my $tar = Archive::Tar->new($archive);
    print $tar && $tar->extract ? "0\n" : "1\n";
}
