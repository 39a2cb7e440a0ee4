# Works for a while, keeps some of it, and pauses twice so that a snapshot can be taken.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
$| = 1;
my @kept;

sub work {
    my ($rounds) = @_;
    for my $i (1 .. $rounds) {
        my %record = map { ("key-$_" => "value-$i-$_") } 1 .. 20;
        push @kept, \%record;
    }
}

sub pause { print "READY\n"; <STDIN>; }

work(2000);
pause();
work(8000);
pause();
print sha256_hex(join ",", map { my $r = $_; map { "$_=$r->{$_}" } sort keys %$r } @kept), "\n";
exit 9;
