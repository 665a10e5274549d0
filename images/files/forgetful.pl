#!/usr/bin/perl
# forgetful PORT FOLDER SECONDS: a key-value store that speaks the JSON calls of etcd's gateway (put, range,
# txn, health) and lies about durability: a write is acknowledged at once and reaches the disk SECONDS later.
#
# Keys and values stay in the base64 they come in. Needs nothing beyond Debian's perl-base.
use strict;
use warnings;
use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Select;
use IO::Socket::INET;

my ($port, $folder, $delay) = @ARGV;
my $file = "$folder/data";
my (%value, %version);
my $revision = 1;
my $dirty_since;

sub load {
    open my $in, '<', $file or return;
    while (my $line = <$in>) {
        chomp $line;
        my ($key, $version, $value) = split / /, $line, 3;
        ($value{$key}, $version{$key}) = ($value, $version) if defined $value;
    }
}

sub store {
    open my $out, '>', "$file.new" or die "$file.new: $!";
    print {$out} "$_ $version{$_} $value{$_}\n" for sort keys %value;
    close $out or die "$file.new: $!";
    rename "$file.new", $file or die "$file: $!";
    undef $dirty_since;
}

# A JSON text to hashes, lists and plain scalars. The text is cut from the front of $_[0].
sub json {
    for ($_[0]) {
        s/^\s+//;
        if (s/^\{\s*//) {
            my %object;
            until (s/^\}//) {
                my $key = json($_[0]);
                s/^\s*:// or die "expected a colon\n";
                $object{$key} = json($_[0]);
                s/^\s*,\s*// or s/^\s*(?=\})// or die "expected a comma\n";
            }
            return \%object;
        }
        if (s/^\[\s*//) {
            my @list;
            until (s/^\]//) {
                push @list, json($_[0]);
                s/^\s*,\s*// or s/^\s*(?=\])// or die "expected a comma\n";
            }
            return \@list;
        }
        # Base64 has no characters that need escaping but the slash.
        if (s/^"((?:[^"\\]|\\.)*)"//) {
            my $text = $1;
            $text =~ s/\\(.)/$1/g;
            return $text;
        }
        return $1 if s/^(-?[0-9.eE+]+|true|false|null)//;
    }
    die "unexpected text\n";
}

sub put {
    my ($request) = @_;
    my ($key, $value) = @$request{qw(key value)};
    die "a put needs a key\n" unless defined $key && $key =~ m{^[\w+/=-]+$};
    $value = '' unless defined $value;
    die "the value is not base64\n" unless $value =~ m{^[\w+/=-]*$};
    $value{$key} = $value;
    $version{$key} = ($version{$key} || 0) + 1;
    $revision++;
    $dirty_since = time unless defined $dirty_since;
    return '{' . header() . '}';
}

sub range {
    my ($request) = @_;
    my $key = $request->{key};
    return '{}' unless defined $key && exists $value{$key};
    my $found = qq({"key":"$key","version":"$version{$key}","value":"$value{$key}"});
    return '{' . header() . qq(,"kvs":[$found],"count":"1"});
}

sub txn {
    my ($request) = @_;
    my $good = 1;
    for my $compare (@{ $request->{compare} || [] }) {
        my $key = $compare->{key};
        my $target = $compare->{target} || 'VERSION';
        my ($is, $wanted);
        if ($target eq 'VALUE') {
            ($is, $wanted) = ($value{$key}, $compare->{value} // '');
        } else {
            ($is, $wanted) = ($version{$key} // 0, $compare->{version} // $compare->{create_revision} // 0);
        }
        $good = 0 unless defined $is && $is eq $wanted;
    }
    my @answers;
    for my $step (@{ $request->{ $good ? 'success' : 'failure' } || [] }) {
        my $put = $step->{requestPut} || $step->{request_put};
        my $range = $step->{requestRange} || $step->{request_range};
        push @answers, '{"response_put":' . put($put) . '}' if $put;
        push @answers, '{"response_range":' . range($range) . '}' if $range;
    }
    my $answers = join ',', @answers;
    return '{' . header() . ($good ? ',"succeeded":true' : '') . ($answers ? qq(,"responses":[$answers]) : '') . '}';
}

sub header { return qq("header":{"revision":"$revision"}) }

sub answer {
    my ($method, $path, $body) = @_;
    return (200, '{"health":"true"}') if $path eq '/health';
    my %calls = ('/v3/kv/put' => \&put, '/v3/kv/range' => \&range, '/v3/kv/txn' => \&txn);
    my $call = $calls{$path} or return (404, '{"error":"not found"}');
    my $answer = eval { $call->(json($body)) };
    return (200, $answer) if defined $answer;
    chomp(my $why = $@);
    $why =~ s/["\\]//g;
    return (400, qq({"error":"$why"}));
}

# Takes one whole request off the front of a buffer and gives the response, or nothing while it is incomplete.
sub request {
    my ($buffer) = @_;
    my $end = index $$buffer, "\r\n\r\n";
    return if $end < 0;
    my $head = substr $$buffer, 0, $end;
    my ($length) = $head =~ /^content-length:\s*(\d+)/im;
    $length ||= 0;
    return if length($$buffer) < $end + 4 + $length;
    my $body = substr $$buffer, $end + 4, $length;
    substr($$buffer, 0, $end + 4 + $length) = '';
    my ($method, $path) = $head =~ /^(\S+) (\S+)/;
    my ($status, $text) = answer($method // '', $path // '', $body);
    return "HTTP/1.1 $status Answer\r\nContent-Type: application/json\r\nContent-Length: "
        . length($text) . "\r\n\r\n$text";
}

load();
$SIG{PIPE} = 'IGNORE';
$SIG{TERM} = sub { store() if defined $dirty_since; exit 0 };
my $listener = IO::Socket::INET->new(
    LocalPort => $port, Listen => 64, ReuseAddr => 1, Proto => 'tcp', Blocking => 0,
) or die "port $port: $@";
my (%in, %out);
my ($readers, $writers) = (IO::Select->new($listener), IO::Select->new);

sub hang_up {
    my ($peer) = @_;
    $readers->remove($peer);
    $writers->remove($peer);
    delete $in{$peer};
    delete $out{$peer};
    close $peer;
}

while (1) {
    my ($readable, $writable) = IO::Select->select($readers, $writers, undef, 0.2);
    for my $peer (@{ $readable || [] }) {
        if ($peer == $listener) {
            my $new = $listener->accept or next;
            $new->blocking(0);
            ($in{$new}, $out{$new}) = ('', '');
            $readers->add($new);
            next;
        }
        my $count = sysread $peer, $in{$peer}, 65536, length $in{$peer};
        if (!defined $count) {
            hang_up($peer) unless $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
            next;
        }
        if ($count == 0 || length $in{$peer} > 1 << 20) { hang_up($peer); next }
        while (defined(my $response = request(\$in{$peer}))) { $out{$peer} .= $response }
        $writers->add($peer) if length $out{$peer};
    }
    for my $peer (@{ $writable || [] }) {
        next unless exists $out{$peer};
        my $count = syswrite $peer, $out{$peer};
        if (!defined $count) {
            hang_up($peer) unless $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR;
            next;
        }
        substr($out{$peer}, 0, $count) = '';
        $writers->remove($peer) unless length $out{$peer};
    }
    store() if defined $dirty_since && time - $dirty_since >= $delay;
}
