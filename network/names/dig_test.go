package names

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestDig asks by a client that isn't ours.
func TestDig(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		t.Fatalf("%v: apt install bind9-dnsutils", err)
	}
	_, addr := serveWith(t, time.Second, upstream(t, knowsAll))
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args string
		want []string
	}{
		{"+short router.lab.internal", []string{"10.77.0.1\n"}},
		{"+short +tcp router AAAA", []string{"fd00:77::1\n"}},
		{"+short -x 10.77.0.100", []string{"a.lab.internal.\n"}},
		{"+search +domain=lab.internal +short db.a", []string{"10.77.0.101\n"}},
		{"nobody.lab.internal", []string{"status: NXDOMAIN", "flags: qr aa rd ra;", "lab.internal.\t\t5\tIN\tSOA"}},
		{"router ANY +notcp", []string{"status: NOERROR", `HINFO	"RFC8482" ""`}},
		{"lab.internal AXFR", []string{"; Transfer failed."}},
		{"CH TXT version.bind", []string{"status: REFUSED"}},
		{"+ignore +bufsize=512 many", []string{"flags: qr aa tc rd ra;", "udp: 1232"}},
		{"+bufsize=4096 many", []string{"Truncated, retrying in TCP mode", "ANSWER: 200"}},
		{"+short big.example TXT", []string{`"999"`}},
		{"+dnssec +norecurse example.com", []string{"status: NOERROR", "flags: qr ra;", "flags: do;", "192.0.2.1"}},
		{"+edns=1 +noednsnegotiation router", []string{"status: BADVERS"}},
		{"+noedns +opcode=UPDATE router", []string{"status: NOTIMP"}},
		{"+noedns +header-only router", []string{"status: FORMERR"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			args := append([]string{"@" + host, "-p", port, "+tries=1", "+time=20"}, strings.Fields(tt.args)...)
			out, err := exec.CommandContext(t.Context(), "dig", args...).CombinedOutput()
			if err != nil {
				t.Fatalf("dig %q: %v: %s", args, err, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("dig %q: no %q in:\n%s", args, want, out)
				}
			}
			if strings.Contains(string(out), "WARNING") {
				t.Errorf("dig %q: a warning:\n%s", args, out)
			}
		})
	}
}
