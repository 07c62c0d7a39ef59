package options

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"homeconf/src/model"
	"homeconf/src/uci"
)

func load(t *testing.T, text string) (*Options, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, Package), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(dir)
}

func TestMissingFileIsAllDefaults(t *testing.T) {
	o, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, a := o.Configurator, o.Agent
	if !c.Enabled || c.Interface != "" || c.Pairing != PairingApprove || c.ManageIGMPProxy != "ask" || c.DryRun || c.Agentless != "suggest" ||
		a.Interface != "eth0" || !a.DHCP || a.ResolvConf != "/etc/resolv.conf" {
		t.Errorf("defaults: %+v", o)
	}
}

func TestEveryOptionIsRead(t *testing.T) {
	o, err := load(t, `
config configurator 'configurator'
	option interface 'br-home'
	option iptv_network 'iptv'
	option pairing 'window'
	option dry_run '1'
	list altnet '198.51.100.0/24'
	option download '91'
config agent 'agent'
	option category 'AV_STB'
	option oui '02005e'
	option code 'ABCD-EFGH-JKLM-NPQR'
config service 'player'
	option process 'mpv'
	option expose '443/tcp  1194/udp'
	option kind 'iptv'
config profile 'set_top_box'
	list category 'AV_STB'
	option multicast '0'
	option class 'multimedia-streaming'
`)
	if err != nil {
		t.Fatal(err)
	}
	if c := o.Configurator; c.Interface != "br-home" || c.IPTVNetwork != "iptv" || c.Pairing != PairingWindow || !c.DryRun || c.DownMbps != 91 ||
		len(c.AltNets) != 1 || c.AltNets[0].String() != "198.51.100.0/24" {
		t.Errorf("configurator: %+v", c)
	}
	if a := o.Agent; a.Category != model.CategorySTB || a.OUI != "02005E" || a.Code == "" {
		t.Errorf("agent: %+v", a)
	}
	if !reflect.DeepEqual(o.Services, []Service{{"player", "iptv", "mpv", []model.Port{{Protocol: model.TCP, Number: 443}, {Protocol: model.UDP, Number: 1194}}}}) {
		t.Errorf("services: %+v", o.Services)
	}
	p := o.Profiles
	if len(p) != 1 || p[0].Name != "set_top_box" || *p[0].Multicast || *p[0].Class != model.ClassStreaming || p[0].Address != nil {
		t.Errorf("profiles: %+v", p)
	}
}

func TestTenErrorsAreTenErrors(t *testing.T) {
	_, err := load(t, `
config configurator 'configurator'
	option enabled 'maybe'
	option pairing 'shout'
	option manage_igmpproxy 'often'
	list altnet 'fe80::/10'
	option download 'much'
	option lan_network 'l a n'
	option no_such '1'
config agent
	option category 'television'
	option code 'SECRET'
	option oui '12345'
config gadget 'x'
`)
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 11 {
		t.Errorf("%d errors:\n%v", len(lines), err)
	}
	for _, l := range lines {
		if !strings.Contains(l, "homeconf:") || !strings.Contains(l, "want") {
			t.Errorf("no place or no way out: %s", l)
		}
	}
	if strings.Contains(err.Error(), "SECRET") {
		t.Error("the set-up code is in the message")
	}
}

func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"two configurators": "config configurator\nconfig configurator\n",
		"unnamed service":   "config service\n",
		"list for one":      "config agent\n\tlist name 'a'\n",
		"many sections":     strings.Repeat("config service 'a'\nconfig service\n", 300),
		"broken":            "config agent 'a' 'b'\n",
		"many items":        "config configurator\n" + strings.Repeat("\tlist altnet '10.0.0.0/8'\n", 65),
		"control character": "config agent\n\toption name 'a\x07'\n",
		"relative path":     "config agent\n\toption resolv_conf 'etc/resolv.conf'\n",
	} {
		if _, err := load(t, text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTableIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range Table {
		key := o.Section + "." + o.Name
		if seen[key] || o.Help == "" || !strings.HasSuffix(o.Help, ".") || o.Values() == "" {
			t.Errorf("%s: twice, or without words: %+v", key, o.Help)
		}
		seen[key] = true
	}
}

func FuzzRead(f *testing.F) {
	f.Add("config agent\n\toption name 'a'\n")
	f.Add("config profile 'x'\n\tlist category 'AV_TV'\n\toption down_mbps '5'\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := uci.Parse(Package, []byte(text))
		if err != nil {
			return
		}
		if o, err := read(file, "f"); err == nil && o == nil {
			t.Error("neither options nor an error")
		}
	})
}
