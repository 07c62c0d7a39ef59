package scene_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab/scene"
)

// TestLeave takes homeconf off the gateway, as the package's prerm does, while
// one of two boxes is dead: no rule, chain or section of ours is left but the
// dead one's reservation, and the daemon puts nothing back as long as it lives.
func TestLeave(t *testing.T) {
	ctx := within(t, 120*time.Second)
	bin := binary(t, "")
	r, err := scene.Many(ctx, newLab(t), bin, 2)
	if err != nil {
		t.Fatal(err)
	}
	h, here, dead := r.Home, r.Boxes[0], r.Boxes[1]
	config := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(h.ConfigDir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	rules := func() string {
		t.Helper()
		out, err := h.GW.Run(ctx, "iptables-save")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	ids := map[*scene.Box]string{}
	for _, b := range r.Boxes {
		st, err := b.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ids[b] = string(st.Device)
	}
	if !strings.Contains(rules(), "HOMECONF") || strings.Count(config("dhcp"), "'hc_") != 2 {
		t.Fatalf("nothing was set up:\n%s\n%s", rules(), config("dhcp"))
	}
	dead.Agent.Kill()

	began := time.Now()
	var left calls.LeaveResult
	if err := h.Say(ctx, h.RunDir, &left, "home", "leave", "--yes"); err != nil {
		t.Fatal(err)
	}
	t.Logf("left after %v", time.Since(began))
	for _, d := range left.Devices {
		if want := string(d.ID) == ids[dead]; d.Kept != want || d.DHCP == want {
			t.Errorf("%+v", d)
		}
	}
	if len(left.Devices) != 2 {
		t.Errorf("%d devices: %+v", len(left.Devices), left)
	}
	check := func(when string) {
		t.Helper()
		if out := rules(); strings.Contains(out, "HOMECONF") {
			t.Errorf("%s: rules are left:\n%s", when, out)
		}
		dhcp := config("dhcp")
		if strings.Count(dhcp, "'hc_") != 1 || !strings.Contains(dhcp, "'hc_"+ids[dead]) {
			t.Errorf("%s: dhcp has\n%s", when, dhcp)
		}
		if got := config("igmpproxy"); strings.Contains(got, "config") {
			t.Errorf("%s: igmpproxy has\n%s", when, got)
		}
	}
	check("at once")
	st, err := here.Status(ctx)
	if err != nil || st.Settings == nil || st.Settings.AddressingType != "DHCP" {
		t.Errorf("the living box: %+v, %v", st.Settings, err)
	}
	if addrs, err := here.Addresses("eth0"); err != nil || len(addrs) != 1 {
		t.Errorf("the living box has %v, %v", addrs, err)
	}
	if err := here.ReachesOutside(ctx); err != nil {
		t.Error(err)
	}
	// What others change meanwhile has it look at the gateway again.
	if _, err := h.GW.Run(ctx, "iptables", "-t", "mangle", "-A", "FORWARD", "-j", "ACCEPT"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	check("after others changed something")
	if err := h.Configurator.Stop(); err != nil {
		t.Error(err)
	}
	check("after its end")
}
