package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeConfig makes the gateway's folders and its UCI files, as OpenWrt 24.10
// has them on a router with an IPTV line.
func (w *World) writeConfig(o GatewayOptions) error {
	w.ConfigDir = filepath.Join(w.GW.Dir, "config")
	w.StateDir = filepath.Join(w.GW.Dir, "state")
	w.RunDir = filepath.Join(w.GW.Dir, "run")
	w.Leases = filepath.Join(w.GW.Dir, "dhcp.leases")
	for dir, mode := range map[string]os.FileMode{w.ConfigDir: 0o755, w.StateDir: 0o700, w.RunDir: 0o755} {
		if err := os.Mkdir(dir, mode); err != nil {
			return err
		}
	}
	noPing := ""
	if o.NoPing {
		noPing = "\toption noping '1'\n"
	}
	files := map[string]string{
		"dhcp":     fmt.Sprintf(uciDHCP, w.Leases, noPing),
		"network":  fmt.Sprintf(uciNetwork, GatewayLAN.Addr(), GatewayWAN.Addr(), Provider.Addr(), Provider.Addr()),
		"firewall": uciFirewall,
		"system":   "\nconfig system\n\toption hostname 'OpenWrt'\n\toption timezone 'UTC'\n",
	}
	if o.Offloading {
		files["firewall"] = strings.Replace(uciFirewall, "option synflood_protect", "option flow_offloading '1'\n\toption synflood_protect", 1)
	}
	switch o.IGMPProxy {
	case EmptyProxy:
		files["igmpproxy"] = ""
	case RunningProxy:
		files["igmpproxy"] = uciIGMPProxy
	}
	if o.SQM != [2]int{} {
		files["sqm"] = fmt.Sprintf(uciSQM, o.SQM[0], o.SQM[1])
	}
	for name, text := range o.Config {
		files[name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(w.ConfigDir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

const uciDHCP = `
config dnsmasq
	option domainneeded '1'
	option boguspriv '1'
	option filterwin2k '0'
	option localise_queries '1'
	option rebind_protection '1'
	option rebind_localhost '1'
	option local '/lan/'
	option domain 'lan'
	option expandhosts '1'
	option nonegcache '0'
	option cachesize '1000'
	option authoritative '1'
	option readethers '1'
	option leasefile '%s'
	option nonwildcard '1'
	option localservice '1'
	option ednspacket_max '1232'
%s
config dhcp 'lan'
	option interface 'lan'
	option start '100'
	option limit '150'
	option leasetime '12h'
	option dhcpv4 'server'
	option dhcpv6 'server'
	option ra 'server'

config dhcp 'wan'
	option interface 'wan'
	option ignore '1'

config odhcpd 'odhcpd'
	option maindhcp '0'
	option leasefile '/tmp/hosts/odhcpd'
	option loglevel '4'

# the printer in the study
config host
	option name 'printer'
	option ip '192.168.1.20'
	list mac '00:80:77:31:01:07'
`

const uciNetwork = `
config interface 'loopback'
	option device 'lo'
	option proto 'static'
	option ipaddr '127.0.0.1'
	option netmask '255.0.0.0'

config globals 'globals'
	option ula_prefix 'fd42:6863:1::/48'

config device
	option name 'br-lan'
	option type 'bridge'
	list ports 'lan1'
	list ports 'lan2'
	list ports 'lan3'
	list ports 'lan4'

config interface 'lan'
	option device 'br-lan'
	option proto 'static'
	option ipaddr '%s'
	option netmask '255.255.255.0'
	option ip6assign '60'

config interface 'wan'
	option device 'wan'
	option proto 'static'
	option ipaddr '%s'
	option netmask '255.255.255.252'
	option gateway '%s'
	list dns '%s'
`

const uciFirewall = `
config defaults
	option syn_flood '1'
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'
	option synflood_protect '1'

config zone
	option name 'lan'
	list network 'lan'
	option input 'ACCEPT'
	option output 'ACCEPT'
	option forward 'ACCEPT'

config zone
	option name 'wan'
	list network 'wan'
	list network 'wan6'
	option input 'REJECT'
	option output 'ACCEPT'
	option forward 'REJECT'
	option masq '1'
	option mtu_fix '1'

config forwarding
	option src 'lan'
	option dest 'wan'

config rule
	option name 'Allow-IGMP'
	option src 'wan'
	option proto 'igmp'
	option family 'ipv4'
	option target 'ACCEPT'
`

const uciIGMPProxy = `config igmpproxy
	option quickleave 1
#	option verbose [0-3](none, minimal[default], more, maximum)

config phyint
	option network wan
	option zone wan
	option direction upstream
	list altnet 0.0.0.0/0

config phyint
	option network lan
	option zone lan
	option direction downstream
`

const uciSQM = `
config queue 'eth1'
	option enabled '1'
	option interface 'wan'
	option download '%d'
	option upload '%d'
	option qdisc 'cake'
	option script 'piece_of_cake.qos'
	option linklayer 'none'
`
