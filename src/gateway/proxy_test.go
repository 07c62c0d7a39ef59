package gateway

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homeconf/src/model"
)

// TestOMCProxy: where the other proxy is the one installed, it gets the path;
// when it goes, nothing of ours is left; what its owner configured stays.
func TestOMCProxy(t *testing.T) {
	ctx := context.Background()
	d := newDesk(t)
	bin := t.TempDir()
	writeMode(t, filepath.Join(bin, "omcproxy"), "#!/bin/sh\n", 0o755)
	t.Setenv("PATH", bin)
	d.cfg.IGMPProxy = "nobody-has-this"
	if err := os.MkdirAll(filepath.Join(d.dir, "proc/self/ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("net:[1]", filepath.Join(d.dir, "proc/self/ns/net")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.cfg.ConfigDir, "omcproxy")

	want := scene(t)
	c, err := d.Set(ctx, want)
	if err != nil || d.reload.n["omcproxy"] != 1 || d.reload.n["igmpproxy"] != 0 {
		t.Fatalf("%v: reloads %v\n%s", err, d.reload.n, c)
	}
	const golden = "config proxy 'hc_omcproxy'\n\toption scope 'global'\n\toption uplink 'wan'\n\tlist downlink 'lan'\n"
	if got := read(t, path); strings.TrimSpace(got) != strings.TrimSpace(golden) {
		t.Errorf("omcproxy\n%s\nwant\n%s", got, golden)
	}
	if c, err := d.Set(ctx, want); err != nil || !c.Empty() {
		t.Errorf("again: %v: %v", err, c)
	}
	if f, err := d.multicastFact(); err != nil || !f.Configured || !f.Ours || f.Program != "omcproxy" || f.Upstream != "wan" {
		t.Errorf("%v: %+v", err, f)
	}

	// Both are there: the one that we configured stays the one.
	writeMode(t, filepath.Join(bin, "igmpproxy"), "#!/bin/sh\n", 0o755)
	d.cfg.IGMPProxy = ""
	if c, err := d.Set(ctx, want); err != nil || !c.Empty() {
		t.Errorf("with both: %v: %v", err, c)
	}
	if _, err := d.Set(ctx, model.GatewayState{}); err != nil {
		t.Fatal(err)
	}
	if left := strings.TrimSpace(read(t, path)); left != "" {
		t.Errorf("left: %s", left)
	}

	// The owner's own.
	write(t, path, "config proxy\n\toption uplink 'iptv'\n\tlist downlink 'lan guest'\n")
	c, err = d.Set(ctx, want)
	if err != nil || len(c.Findings) != 1 || c.Findings[0].Kind != FindingProxyForeign || !strings.Contains(c.Findings[0].Text, "omcproxy") {
		t.Errorf("%v: %+v", err, c.Findings)
	}
	want.Multicast.Upstream = "iptv"
	c, err = d.Set(ctx, want)
	if err != nil || len(c.Findings) != 0 || strings.Contains(read(t, path), "hc_") {
		t.Errorf("%v: %+v", err, c.Findings)
	}
	if f, err := d.multicastFact(); err != nil || f.Ours || strings.Join(f.Downstream, " ") != "lan guest" {
		t.Errorf("%v: %+v", err, f)
	}
}
