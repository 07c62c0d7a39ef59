package options

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"homeconf/src/model"
)

var sectionTypes = []string{"configurator", "agent", "service", "profile"}

// Table has every option there is.
var Table = []Option{
	{Section: "configurator", Name: "enabled", kind: &boolean, Default: "1", Help: "Whether the configurator runs.",
		field: func(o *Options) any { return &o.Configurator.Enabled }},
	{Section: "configurator", Name: "interface", kind: &device, Help: "The LAN bridge on which agents are heard; none: that of lan_network.",
		field: func(o *Options) any { return &o.Configurator.Interface }},
	{Section: "configurator", Name: "lan_network", kind: &network, Default: "lan", Help: "The UCI network of the LAN.",
		field: func(o *Options) any { return &o.Configurator.LANNetwork }},
	{Section: "configurator", Name: "wan_network", kind: &network, Default: "wan", Help: "The UCI network of the way outside.",
		field: func(o *Options) any { return &o.Configurator.WANNetwork }},
	{Section: "configurator", Name: "iptv_network", kind: &network, Help: "The UCI network on which the provider sends IPTV, where it is not the WAN.",
		field: func(o *Options) any { return &o.Configurator.IPTVNetwork }},
	{Section: "configurator", Name: "pairing", kind: &pairing, Default: "approve", Help: "How a new device proves itself: six digits that you compare, a pairing window, or the code on its label.",
		field: func(o *Options) any { return &o.Configurator.Pairing }},
	{Section: "configurator", Name: "agentless", kind: &agentless, Default: "suggest", Help: "Whether devices without an agent are suggested for set-up or only listed.",
		field: func(o *Options) any { return &o.Configurator.Agentless }},
	{Section: "configurator", Name: "dry_run", kind: &boolean, Default: "0", Help: "Plan and print only, change nothing.",
		field: func(o *Options) any { return &o.Configurator.DryRun }},
	{Section: "configurator", Name: "manage_igmpproxy", kind: &manage, Default: "ask", Help: "Whether homeconf may set up the IGMP proxy that IPTV needs.",
		field: func(o *Options) any { return &o.Configurator.ManageIGMPProxy }},
	{Section: "configurator", Name: "on_subnet_change", kind: &subnetChange, Default: "renumber", Help: "What becomes of a change of the LAN's subnet: every device moves to the new one, or the gateway gets its old address back.",
		field: func(o *Options) any { return &o.Configurator.OnSubnetChange }},
	{Section: "configurator", Name: "altnet", List: true, kind: &prefix, Help: "Networks from which the provider sends IPTV, for the IGMP proxy; none: from anywhere.",
		field: func(o *Options) any { return &o.Configurator.AltNets }},
	{Section: "configurator", Name: "download", kind: &rate, Default: "0", Help: "What your line carries towards you, in Mbit/s; 0: not said.",
		field: func(o *Options) any { return &o.Configurator.DownMbps }},
	{Section: "configurator", Name: "upload", kind: &rate, Default: "0", Help: "What your line carries away from you, in Mbit/s; 0: not said.",
		field: func(o *Options) any { return &o.Configurator.UpMbps }},
	{Section: "configurator", Name: "reload_command", kind: &file, Help: "A program that reloads the service of the UCI package given to it, where nothing watches the configuration folder.",
		field: func(o *Options) any { return &o.Configurator.ReloadCommand }},
	{Section: "configurator", Name: "on_drift", kind: &onDrift, Default: "ask", Help: "What becomes of settings that somebody changes at a configured device: you are asked, they are put back, or they are taken over.",
		field: func(o *Options) any { return &o.Configurator.OnDrift }},
	{Section: "configurator", Name: "retire_after", kind: &days, Default: "90d", Help: "After how many days of absence a device that you have not named is let go, with a finding a week before; never: it stays.",
		field: func(o *Options) any { return &o.Configurator.RetireAfter }},
	{Section: "configurator", Name: "wps", kind: &boolean, Default: "0", Help: "Whether the router's WPS button opens the pairing window.",
		field: func(o *Options) any { return &o.Configurator.WPS }},
	{Section: "configurator", Name: "reinstall", kind: &boolean, Default: "0", Help: "Whether homeconf is installed again by itself after a sysupgrade, which keeps settings and removes packages.",
		field: func(o *Options) any { return &o.Configurator.Reinstall }},
	{Section: "configurator", Name: "log_level", kind: &level, Default: "info", Help: "How much is logged.",
		field: func(o *Options) any { return &o.Configurator.LogLevel }},

	{Section: "agent", Name: "enabled", kind: &boolean, Default: "1", Help: "Whether the agent runs.",
		field: func(o *Options) any { return &o.Agent.Enabled }},
	{Section: "agent", Name: "interface", kind: &device, Default: "eth0", Help: "The interface that the agent configures.",
		field: func(o *Options) any { return &o.Agent.Interface }},
	{Section: "agent", Name: "pairing", kind: &pairing, Default: "approve", Help: "How this device proves itself; one with a code never pairs without it.",
		field: func(o *Options) any { return &o.Agent.Pairing }},
	{Section: "agent", Name: "code", Secret: true, kind: &setupCode, Help: "The set-up code on the label, 16 characters or more.",
		field: func(o *Options) any { return &o.Agent.Code }},
	{Section: "agent", Name: "category", kind: &category, Help: "What the device is, such as AV_STB or PC_NAS.",
		field: func(o *Options) any { return &o.Agent.Category }},
	{Section: "agent", Name: "manufacturer", kind: &text, Help: "Who made it.",
		field: func(o *Options) any { return &o.Agent.Manufacturer }},
	{Section: "agent", Name: "oui", kind: &oui, Help: "The maker's OUI, six hex digits.",
		field: func(o *Options) any { return &o.Agent.OUI }},
	{Section: "agent", Name: "model", kind: &text, Help: "The model's name.",
		field: func(o *Options) any { return &o.Agent.Model }},
	{Section: "agent", Name: "model_number", kind: &text, Help: "The model's number.",
		field: func(o *Options) any { return &o.Agent.ModelNumber }},
	{Section: "agent", Name: "serial", kind: &text, Help: "The serial number.",
		field: func(o *Options) any { return &o.Agent.Serial }},
	{Section: "agent", Name: "firmware", kind: &text, Help: "The firmware's version.",
		field: func(o *Options) any { return &o.Agent.Firmware }},
	{Section: "agent", Name: "name", kind: &text, Help: "What the device calls itself.",
		field: func(o *Options) any { return &o.Agent.Name }},
	{Section: "agent", Name: "resolv_conf", kind: &file, Default: "/etc/resolv.conf", Help: "The file that DNS servers are written to.",
		field: func(o *Options) any { return &o.Agent.ResolvConf }},
	{Section: "agent", Name: "dhcp", kind: &boolean, Default: "1", Help: "Whether a temporary address may be taken by DHCP where no home is heard at Layer 2.",
		field: func(o *Options) any { return &o.Agent.DHCP }},
	{Section: "agent", Name: "log_level", kind: &level, Default: "info", Help: "How much is logged.",
		field: func(o *Options) any { return &o.Agent.LogLevel }},

	{Section: "service", Name: "kind", kind: &text, Help: "What the service is: iptv, dlna-server, file-sharing, printing, ssh and the like.",
		field: func(o *Options) any { return &last(o.Services).Kind }},
	{Section: "service", Name: "process", kind: &text, Help: "The process whose running says that the service runs.",
		field: func(o *Options) any { return &last(o.Services).Process }},

	{Section: "service", Name: "expose", kind: &ports, Help: "The ports at which the outside should reach the service; a wish, on which the home decides.",
		field: func(o *Options) any { return &last(o.Services).Expose }},
	{Section: "profile", Name: "category", List: true, kind: &category, Help: "The device categories that this profile is for.",
		field: func(o *Options) any { return &last(o.Profiles).Categories }},
	{Section: "profile", Name: "address", kind: &addressPolicy, Help: "How such a device gets its address.",
		field: func(o *Options) any { return &last(o.Profiles).Address }},
	{Section: "profile", Name: "class", kind: &class, Help: "The traffic class of what is sent to it (RFC 4594).",
		field: func(o *Options) any { return &last(o.Profiles).Class }},
	{Section: "profile", Name: "multicast", kind: &boolean, Help: "Whether it needs IPTV's multicast.",
		field: func(o *Options) any { return &last(o.Profiles).Multicast }},
	{Section: "profile", Name: "down_mbps", kind: &rate, Help: "What one such device needs from the line, in Mbit/s.",
		field: func(o *Options) any { return &last(o.Profiles).DownMbps }},
	{Section: "profile", Name: "up_mbps", kind: &rate, Help: "What one such device sends outside, in Mbit/s.",
		field: func(o *Options) any { return &last(o.Profiles).UpMbps }},
	{Section: "profile", Name: "allow_ports", kind: &portPolicy, Help: "What becomes of its wish for a port opening.",
		field: func(o *Options) any { return &last(o.Profiles).Ports }},
}

// kind is a kind of value: what it takes, in words, and its reader.
type kind struct {
	words string
	parse func(string) (any, bool) // none: one of the words behind oneOf
}

const oneOf = "one of "

func (k *kind) read(s string) (any, bool) {
	if k.parse != nil {
		return k.parse(s)
	}
	return s, slices.Contains(strings.Split(k.words[len(oneOf):], ", "), s)
}

// Values is what the option takes, in words.
func (t *Option) Values() string { return t.kind.words }

// maxItems bounds a list.
const maxItems = 64

// read takes an option's values over.
func (t *Option) read(o *Options, in []string) error {
	switch {
	case !t.List && len(in) != 1:
		return fmt.Errorf("%d values, want one", len(in))
	case len(in) > maxItems:
		return fmt.Errorf("%d items, at most %d", len(in), maxItems)
	}
	all := make([]any, len(in))
	for i, s := range in {
		v, ok := t.kind.read(s)
		if !ok {
			return fmt.Errorf("%.60q: want %s", s, t.kind.words)
		}
		all[i] = v
	}
	assign(t.field(o), all)
	return nil
}

// assign puts values where field points to: one, or all of a list. It is one
// switch and no type parameter of the table's, for that takes 30 KB.
func assign(field any, all []any) {
	switch p := field.(type) {
	case *[]netip.Prefix:
		*p = nil
		for _, v := range all {
			*p = append(*p, v.(netip.Prefix))
		}
	case *[]model.Category:
		*p = nil
		for _, v := range all {
			*p = append(*p, model.Category(v.(string)))
		}
	case *[]model.Port:
		*p = all[0].([]model.Port)
	case *bool:
		*p = all[0].(bool)
	case **bool:
		v := all[0].(bool)
		*p = &v
	case *time.Duration:
		*p = all[0].(time.Duration)
	case *uint32:
		*p = all[0].(uint32)
	case **uint32:
		v := all[0].(uint32)
		*p = &v
	default:
		v := all[0].(string)
		switch p := field.(type) {
		case *string:
			*p = v
		case *Pairing:
			*p = Pairing(v)
		case *model.Category:
			*p = model.Category(v)
		case **model.AddressPolicy:
			*p = (*model.AddressPolicy)(&v)
		case **model.TrafficClass:
			*p = (*model.TrafficClass)(&v)
		case **model.PortPolicy:
			*p = (*model.PortPolicy)(&v)
		default:
			panic(fmt.Sprintf("options: no way into a %T", field))
		}
	}
}

func last[T any](l []T) *T { return &l[len(l)-1] }

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// The kinds of values.
var (
	// boolean takes what OpenWrt's config_get_bool takes.
	boolean = kind{"0 or 1", func(s string) (any, bool) {
		switch s {
		case "1", "on", "true", "yes", "enabled":
			return true, true
		case "0", "off", "false", "no", "disabled":
			return false, true
		}
		return nil, false
	}}
	device = kind{"an interface's name, at most 15 characters", func(s string) (any, bool) {
		return s, len(s) <= 15 && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
	}}
	network = kind{"a UCI network's name", func(s string) (any, bool) {
		return s, len(s) <= 32 && strings.Trim(s, letters+digits+"_") == ""
	}}
	rate = kind{"whole Mbit/s, 0 to 100000", func(s string) (any, bool) {
		n, err := strconv.ParseUint(s, 10, 32)
		return uint32(n), err == nil && n <= 100000
	}}
	days = kind{"days such as 90d, 1d to 3650d, or never", func(s string) (any, bool) {
		n, err := strconv.ParseUint(strings.TrimSuffix(s, "d"), 10, 16)
		return time.Duration(n) * 24 * time.Hour, s == "never" || err == nil && n >= 1 && n <= 3650 && strings.HasSuffix(s, "d")
	}}
	prefix = kind{"an IPv4 network such as 198.51.100.0/24", func(s string) (any, bool) {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err == nil && p.Addr().Is4()
	}}
	ports = kind{"ports such as 443/tcp, up to 4 with blanks between", func(s string) (any, bool) {
		var l []model.Port
		for _, w := range strings.Fields(s) {
			p, err := model.ParsePort(w)
			if err != nil || len(l) == 4 {
				return nil, false
			}
			l = append(l, p)
		}
		return l, true
	}}
	category = kind{"a device category such as AV_STB or PC_NAS", func(s string) (any, bool) {
		_, err := model.ParseCategory(s)
		return s, err == nil
	}}
	class = kind{"a class of RFC 4594 such as broadcast-video, or none", func(s string) (any, bool) {
		_, err := model.ParseTrafficClass(s)
		return s, err == nil
	}}
	text      = kind{"printable text, at most 64 bytes", func(s string) (any, bool) { return s, isText(s) }}
	file      = kind{"an absolute path", func(s string) (any, bool) { return s, filepath.IsAbs(s) && isText(s) }}
	oui       = kind{"six hex digits", parseOUI}
	setupCode = kind{"16 to 64 letters and digits, with or without dashes", func(s string) (any, bool) {
		plain := strings.ReplaceAll(s, "-", "")
		return s, len(plain) >= 16 && len(plain) <= 64 && strings.Trim(plain, letters+digits) == ""
	}}
	pairing       = kind{words: oneOf + string(PairingApprove+", "+PairingWindow+", "+PairingCode)}
	level         = kind{words: oneOf + "debug, info, warn, error"}
	onDrift       = kind{words: oneOf + "ask, revert, accept"}
	agentless     = kind{words: oneOf + "suggest, list"}
	manage        = kind{words: oneOf + "never, ask, always"}
	subnetChange  = kind{words: oneOf + "renumber, restore"}
	addressPolicy = kind{words: oneOf + string(model.AddressStatic+", "+model.AddressReserve+", "+model.AddressDynamic)}
	portPolicy    = kind{words: oneOf + string(model.PortsNever+", "+model.PortsAsk+", "+model.PortsAlways)}
)

func isText(s string) bool {
	return len(s) <= 64 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// parseOUI reads 24 bits in hex (TR-181 DeviceInfo.ManufacturerOUI).
func parseOUI(s string) (any, bool) {
	_, err := strconv.ParseUint(s, 16, 32)
	return strings.ToUpper(s), len(s) == 6 && err == nil && !strings.ContainsAny(s, "+-_")
}
