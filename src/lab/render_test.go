package lab

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"homeconf/src/uci"
)

func TestRender(t *testing.T) {
	const lan = "config interface 'lan'\n\toption device 'br-lan'\n\toption ipaddr '192.168.1.1'\n\toption netmask '255.255.255.0'\n" +
		"config interface 'wan'\n\toption device 'eth1'\n"
	const pool = "config dnsmasq\nconfig dhcp 'lan'\n\toption interface 'lan'\n"
	for _, c := range []struct {
		name   string
		files  map[string]string
		daemon string
		has    []string // lines
		hasNot []string // words
		stops  bool     // nothing to run
		fails  bool
		logs   string
	}{
		{name: "pool", files: map[string]string{"network": lan, "dhcp": pool},
			has: []string{"interface=br-lan", "dhcp-range=set:lan,192.168.1.100,192.168.1.249,255.255.255.0,12h"}, hasNot: []string{"no-ping"}},
		{name: "pool of OpenWrt 25.12", files: map[string]string{"dhcp": pool + "\toption start '2'\n\toption limit '3'\n\toption leasetime '2m'\n",
			"network": "config interface 'lan'\n\toption device 'br-lan'\n\tlist ipaddr '10.0.4.1/22'\n"},
			has: []string{"dhcp-range=set:lan,10.0.4.2,10.0.4.4,255.255.252.0,2m"}},
		{name: "bridge of OpenWrt 19.07, pool beyond the subnet", files: map[string]string{"dhcp": pool,
			"network": "config interface 'lan'\n\toption type 'bridge'\n\toption ifname 'eth0.1 eth0.2'\n\toption ipaddr '192.168.1.1'\n\toption netmask '255.255.255.128'\n"},
			has: []string{"interface=br-lan", "dhcp-range=set:lan,192.168.1.100,192.168.1.126,255.255.255.128,12h"}},
		{name: "no mask", files: map[string]string{"dhcp": pool, "network": "config interface 'lan'\n\toption device 'br-lan'\n\toption ipaddr '192.168.1.1'\n"},
			has: []string{"interface=br-lan"}, hasNot: []string{"dhcp-range"}, logs: "empty"},
		{name: "ignored", files: map[string]string{"network": lan, "dhcp": "config dnsmasq\nconfig dhcp\n\toption interface 'wan'\n\toption ignore '1'\n"},
			has: []string{"no-dhcp-interface=eth1"}},
		{name: "no such network", files: map[string]string{"network": "", "dhcp": pool}, hasNot: []string{"interface="}, logs: `"lan"`},
		{name: "no ping", files: map[string]string{"network": lan, "dhcp": "config dnsmasq\n\toption noping '1'\n"}, has: []string{"no-ping"}},
		{name: "hosts", files: map[string]string{"network": lan, "dhcp": pool + `
config host
	option name 'tv'
	option ip '192.168.1.9'
	option mac '02:00:00:00:00:01 02:00:00:00:00:02'
	list tag 'iptv'
config host 'hc_x_1'
	option name 'two'
	list mac '02:00:00:00:00:03'
	list mac '02:00:00:00:00:04'
	option leasetime '5m'
config host
	option name 'off'
	option mac '02:00:00:00:00:05'
	option enable '0'
config host
	option name 'nobody'
	option ip '192.168.1.10'
config host
	option mac '02:00:00:00:00:06'
	option ip 'ignore'
config host
	option name "a
address=/bank/6.6.6.6"
	option mac '02:00:00:00:00:07'
`}, has: []string{
			"dhcp-host=02:00:00:00:00:01,02:00:00:00:00:02,set:iptv,192.168.1.9,tv",
			"dhcp-host=02:00:00:00:00:03,02:00:00:00:00:04,two,5m",
			"dhcp-host=02:00:00:00:00:06,ignore",
		}, hasNot: []string{"off", "nobody", "bank"}, logs: "not rendered"},
		{name: "no server", files: map[string]string{"network": lan, "dhcp": ""}, stops: true},
		{name: "no dhcp", files: map[string]string{"network": lan}, fails: true},
		{name: "no network", files: map[string]string{"dhcp": pool}, fails: true},
		{name: "broken", files: map[string]string{"network": lan, "dhcp": "config 'x\n"}, fails: true},

		{name: "proxy", daemon: "igmpproxy", files: map[string]string{"network": lan, "igmpproxy": uciIGMPProxy},
			has: []string{"quickleave", "phyint eth1 upstream ratelimit 0 threshold 1", " altnet 0.0.0.0/0", "phyint br-lan downstream ratelimit 0 threshold 1"}},
		{name: "no proxy", daemon: "igmpproxy", files: map[string]string{"network": lan}, stops: true},
		{name: "empty proxy", daemon: "igmpproxy", files: map[string]string{"network": lan, "igmpproxy": ""}, stops: true},
		{name: "half a proxy", daemon: "igmpproxy", files: map[string]string{"network": lan, "igmpproxy": "config phyint\n\toption network 'wan'\n\toption direction 'upstream'\n"}, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			load := func(pkg string) (*uci.File, error) {
				text, ok := c.files[pkg]
				if !ok {
					return nil, fs.ErrNotExist
				}
				return uci.Parse(pkg, []byte(text))
			}
			var log strings.Builder
			render := renderDnsmasq
			if c.daemon == "igmpproxy" {
				render = renderIGMPProxy
			}
			b, err := render(load, func(format string, args ...any) { fmt.Fprintf(&log, format+"\n", args...) })
			if (err != nil) != c.fails || (b == nil) != (c.stops || c.fails) {
				t.Fatalf("%q, %v", b, err)
			}
			lines := strings.Split(string(b), "\n")
			for _, want := range c.has {
				if !slices.Contains(lines, want) {
					t.Errorf("no line %q in\n%s", want, b)
				}
			}
			for _, word := range c.hasNot {
				if strings.Contains(string(b), word) {
					t.Errorf("%q in\n%s", word, b)
				}
			}
			if c.logs == "" && log.Len() > 0 || !strings.Contains(log.String(), c.logs) {
				t.Errorf("logged %q, want %q", log.String(), c.logs)
			}
		})
	}
}
