# Unpacks archives with Perl's Archive::Tar. Reads pairs of archive and folder from standard input, each with a zero after it.
use strict;
use warnings;
use Archive::Tar;

local $/ = "\0";
chomp(my @words = <STDIN>);
while (my ($archive, $folder) = splice(@words, 0, 2)) {
    chdir $folder or die "$folder: $!";
    my $tar = Archive::Tar->new($archive) or die "$archive: " . Archive::Tar->error;
    $tar->extract or die "$archive: " . $tar->error;
}
