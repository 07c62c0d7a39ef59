package scene_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/lab"
	"homeconf/src/lab/scene"
)

// TestOtherProcessors: agents built for a router's and for a player's processor,
// under qemu-user, join a configurator of this machine's. There they can't join
// a multicast group (qemu knows no such option), so this also shows that
// discovery falls back to broadcast.
func TestOtherProcessors(t *testing.T) {
	bin := binary(t, "")
	l := newLab(t)
	h, err := scene.New(l, bin, scene.World())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 3*time.Minute)
	if err := h.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]string{}
	for _, p := range []struct {
		name, emulator string
		env            []string
	}{
		{"mipsle", "qemu-mipsel-static", []string{"GOOS=linux", "GOARCH=mipsle", "GOMIPS=softfloat"}},
		{"arm64", "qemu-aarch64-static", []string{"GOOS=linux", "GOARCH=arm64"}},
	} {
		lab.Need(t, p.emulator)
		emulator, err := exec.LookPath(p.emulator)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), p.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		foreign, err := scene.BuildFor(ctx, dir, p.env)
		if err != nil {
			t.Fatal(err)
		}
		b, err := h.NewBox(p.name, p.name)
		if err != nil {
			t.Fatal(err)
		}
		b.Program = []string{emulator, foreign}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		failed := func(what string, err error) {
			t.Helper()
			t.Fatalf("%s: %s: %v\nagent:\n%s\nconfigurator:\n%s", p.name, what, err, b.Agent.Output(), h.Configurator.Output())
		}
		if err := b.Ready(ctx); err != nil {
			failed("start", err)
		}
		if err := b.PlugIn(); err != nil {
			failed("plug in", err)
		}
		st, err := b.Digits(ctx)
		if err != nil {
			failed("digits", err)
		}
		if err := h.Adopt(ctx, b); err != nil {
			failed("adopt", err)
		}
		d, err := h.Configured(ctx, st.Device)
		if err != nil {
			failed("configured", err)
		}
		if other := seen[d.Address]; other != "" {
			t.Errorf("%s has %s, as %s has", p.name, d.Address, other)
		}
		seen[d.Address] = p.name
		out, err := b.Run(ctx, "ip", "-4", "-o", "addr", "show", "dev", "eth0")
		if err != nil || !strings.Contains(out, d.Address.String()+"/24") {
			failed("address at the box", err)
		}
		t.Logf("%s: %s", p.name, strings.TrimSpace(out))
	}
}
