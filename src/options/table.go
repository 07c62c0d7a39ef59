package options

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"homeconf/src/model"
)

var sectionTypes = []string{"configurator", "agent", "service", "profile"}

// Table has every option there is.
var Table = []Option{
	one("configurator", "enabled", boolean, "1", "Whether the configurator runs.", func(o *Options) *bool { return &o.Configurator.Enabled }),
	one("configurator", "interface", device, "", "The LAN bridge on which agents are heard; none: that of lan_network.", func(o *Options) *string { return &o.Configurator.Interface }),
	one("configurator", "lan_network", network, "lan", "The UCI network of the LAN.", func(o *Options) *string { return &o.Configurator.LANNetwork }),
	one("configurator", "wan_network", network, "wan", "The UCI network of the way outside.", func(o *Options) *string { return &o.Configurator.WANNetwork }),
	one("configurator", "iptv_network", network, "", "The UCI network on which the provider sends IPTV, where it is not the WAN.", func(o *Options) *string { return &o.Configurator.IPTVNetwork }),
	one("configurator", "pairing", pairing, "approve", "How a new device proves itself: six digits that you compare, a pairing window, or the code on its label.", func(o *Options) *Pairing { return &o.Configurator.Pairing }),
	one("configurator", "agentless", enum("suggest", "list"), "suggest", "Whether devices without an agent are suggested for set-up or only listed.", func(o *Options) *string { return &o.Configurator.Agentless }),
	one("configurator", "dry_run", boolean, "0", "Plan and print only, change nothing.", func(o *Options) *bool { return &o.Configurator.DryRun }),
	one("configurator", "manage_igmpproxy", enum("never", "ask", "always"), "ask", "Whether homeconf may set up the IGMP proxy that IPTV needs.", func(o *Options) *string { return &o.Configurator.ManageIGMPProxy }),
	many("configurator", "altnet", prefix, "Networks from which the provider sends IPTV, for the IGMP proxy; none: from anywhere.", func(o *Options) *[]netip.Prefix { return &o.Configurator.AltNets }),
	one("configurator", "download", rate, "0", "What your line carries towards you, in Mbit/s; 0: not said.", func(o *Options) *uint32 { return &o.Configurator.DownMbps }),
	one("configurator", "upload", rate, "0", "What your line carries away from you, in Mbit/s; 0: not said.", func(o *Options) *uint32 { return &o.Configurator.UpMbps }),
	one("configurator", "reload_command", command, "", "A program that reloads the service of the UCI package given to it, where nothing watches the configuration folder.", func(o *Options) *string { return &o.Configurator.ReloadCommand }),
	one("configurator", "wps", boolean, "0", "Whether the router's WPS button opens the pairing window.", func(o *Options) *bool { return &o.Configurator.WPS }),
	one("configurator", "reinstall", boolean, "0", "Whether homeconf is installed again by itself after a sysupgrade, which keeps settings and removes packages.", func(o *Options) *bool { return &o.Configurator.Reinstall }),
	one("configurator", "log_level", level, "info", "How much is logged.", func(o *Options) *string { return &o.Configurator.LogLevel }),

	one("agent", "enabled", boolean, "1", "Whether the agent runs.", func(o *Options) *bool { return &o.Agent.Enabled }),
	one("agent", "interface", device, "eth0", "The interface that the agent configures.", func(o *Options) *string { return &o.Agent.Interface }),
	one("agent", "pairing", pairing, "approve", "How this device proves itself; one with a code never pairs without it.", func(o *Options) *Pairing { return &o.Agent.Pairing }),
	secret(one("agent", "code", setupCode, "", "The set-up code on the label, 16 characters or more.", func(o *Options) *string { return &o.Agent.Code })),
	one("agent", "category", category, "", "What the device is, such as AV_STB or PC_NAS.", func(o *Options) *model.Category { return &o.Agent.Category }),
	one("agent", "manufacturer", text, "", "Who made it.", func(o *Options) *string { return &o.Agent.Manufacturer }),
	one("agent", "oui", oui, "", "The maker's OUI, six hex digits.", func(o *Options) *string { return &o.Agent.OUI }),
	one("agent", "model", text, "", "The model's name.", func(o *Options) *string { return &o.Agent.Model }),
	one("agent", "model_number", text, "", "The model's number.", func(o *Options) *string { return &o.Agent.ModelNumber }),
	one("agent", "serial", text, "", "The serial number.", func(o *Options) *string { return &o.Agent.Serial }),
	one("agent", "firmware", text, "", "The firmware's version.", func(o *Options) *string { return &o.Agent.Firmware }),
	one("agent", "name", text, "", "What the device calls itself.", func(o *Options) *string { return &o.Agent.Name }),
	one("agent", "resolv_conf", file, "/etc/resolv.conf", "The file that DNS servers are written to.", func(o *Options) *string { return &o.Agent.ResolvConf }),
	one("agent", "dhcp", boolean, "1", "Whether a temporary address may be taken by DHCP where no home is heard at Layer 2.", func(o *Options) *bool { return &o.Agent.DHCP }),
	one("agent", "log_level", level, "info", "How much is logged.", func(o *Options) *string { return &o.Agent.LogLevel }),

	one("service", "kind", text, "", "What the service is: iptv, dlna-server, file-sharing, printing, ssh and the like.", func(o *Options) *string { return &last(o.Services).Kind }),
	one("service", "process", text, "", "The process whose running says that the service runs.", func(o *Options) *string { return &last(o.Services).Process }),

	one("service", "expose", ports, "", "The ports at which the outside should reach the service; a wish, on which the home decides.", func(o *Options) *[]model.Port { return &last(o.Services).Expose }),
	many("profile", "category", category, "The device categories that this profile is for.", func(o *Options) *[]model.Category { return &last(o.Profiles).Categories }),
	one("profile", "address", pointer(enumOf(model.AddressStatic, model.AddressReserve, model.AddressDynamic)), "", "How such a device gets its address.", func(o *Options) **model.AddressPolicy { return &last(o.Profiles).Address }),
	one("profile", "class", pointer(class), "", "The traffic class of what is sent to it (RFC 4594).", func(o *Options) **model.TrafficClass { return &last(o.Profiles).Class }),
	one("profile", "multicast", pointer(boolean), "", "Whether it needs IPTV's multicast.", func(o *Options) **bool { return &last(o.Profiles).Multicast }),
	one("profile", "down_mbps", pointer(rate), "", "What one such device needs from the line, in Mbit/s.", func(o *Options) **uint32 { return &last(o.Profiles).DownMbps }),
	one("profile", "up_mbps", pointer(rate), "", "What one such device sends outside, in Mbit/s.", func(o *Options) **uint32 { return &last(o.Profiles).UpMbps }),
	one("profile", "allow_ports", pointer(enumOf(model.PortsNever, model.PortsAsk, model.PortsAlways)), "", "What becomes of its wish for a port opening.", func(o *Options) **model.PortPolicy { return &last(o.Profiles).Ports }),
}

// values is a kind of value: what it takes, in words, and its reader.
type values[T any] struct {
	words string
	parse func(string) (T, error)
}

func one[T any](section, name string, v values[T], def, help string, field func(*Options) *T) Option {
	return Option{Section: section, Name: name, Values: v.words, Default: def, Help: help, read: func(o *Options, in []string) error {
		if len(in) != 1 {
			return fmt.Errorf("%d values, want one", len(in))
		}
		x, err := v.parse(in[0])
		if err != nil {
			return fmt.Errorf("%.60q: want %s", in[0], v.words)
		}
		*field(o) = x
		return nil
	}}
}

// maxItems bounds a list.
const maxItems = 64

func many[T any](section, name string, v values[T], help string, field func(*Options) *[]T) Option {
	return Option{Section: section, Name: name, List: true, Values: v.words, Help: help, read: func(o *Options, in []string) error {
		if len(in) > maxItems {
			return fmt.Errorf("%d items, at most %d", len(in), maxItems)
		}
		var out []T
		for _, s := range in {
			x, err := v.parse(s)
			if err != nil {
				return fmt.Errorf("%.60q: want %s", s, v.words)
			}
			out = append(out, x)
		}
		*field(o) = out
		return nil
	}}
}

func secret(o Option) Option { o.Secret = true; return o }

func last[T any](l []T) *T { return &l[len(l)-1] }

var errBad = fmt.Errorf("malformed")

func check(words string, ok func(string) bool) values[string] {
	return values[string]{words, func(s string) (string, error) {
		if !ok(s) {
			return "", errBad
		}
		return s, nil
	}}
}

func enum(all ...string) values[string] { return enumOf(all...) }

func enumOf[T ~string](all ...T) values[T] {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = string(a)
	}
	return values[T]{"one of " + strings.Join(words, ", "), func(s string) (T, error) {
		if !slices.Contains(all, T(s)) {
			return "", errBad
		}
		return T(s), nil
	}}
}

func pointer[T any](v values[T]) values[*T] {
	return values[*T]{v.words, func(s string) (*T, error) {
		x, err := v.parse(s)
		return &x, err
	}}
}

// The kinds of values.
var (
	// boolean takes what OpenWrt's config_get_bool takes.
	boolean = values[bool]{"0 or 1", func(s string) (bool, error) {
		switch s {
		case "1", "on", "true", "yes", "enabled":
			return true, nil
		case "0", "off", "false", "no", "disabled":
			return false, nil
		}
		return false, errBad
	}}
	device = check("an interface's name, at most 15 characters", func(s string) bool {
		return len(s) <= 15 && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
	})
	network = check("a UCI network's name", func(s string) bool {
		return len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
	})
	pairing = enumOf(PairingApprove, PairingWindow, PairingCode)
	level   = enum("debug", "info", "warn", "error")
	rate    = values[uint32]{"whole Mbit/s, 0 to 100000", func(s string) (uint32, error) {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || n > 100000 {
			return 0, errBad
		}
		return uint32(n), nil
	}}
	prefix = values[netip.Prefix]{"an IPv4 network such as 198.51.100.0/24", func(s string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() {
			return p, errBad
		}
		return p.Masked(), nil
	}}
	ports = values[[]model.Port]{"ports such as 443/tcp, up to 4 with blanks between", func(s string) (l []model.Port, err error) {
		for _, w := range strings.Fields(s) {
			p, err := model.ParsePort(w)
			if err != nil || len(l) == 4 {
				return nil, errBad
			}
			l = append(l, p)
		}
		return l, nil
	}}
	category  = values[model.Category]{"a device category such as AV_STB or PC_NAS", model.ParseCategory}
	class     = values[model.TrafficClass]{"a class of RFC 4594 such as broadcast-video, or none", model.ParseTrafficClass}
	text      = check("printable text, at most 64 bytes", isText)
	command   = check("an absolute path", func(s string) bool { return filepath.IsAbs(s) && isText(s) })
	file      = check("an absolute path", func(s string) bool { return filepath.IsAbs(s) && isText(s) })
	oui       = values[string]{"six hex digits", parseOUI}
	setupCode = check("16 to 64 letters and digits, with or without dashes", func(s string) bool {
		plain := strings.ReplaceAll(s, "-", "")
		return len(plain) >= 16 && len(plain) <= 64 && strings.Trim(plain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
	})
)

func isText(s string) bool {
	return len(s) <= 64 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// parseOUI reads 24 bits in hex (TR-181 DeviceInfo.ManufacturerOUI).
func parseOUI(s string) (string, error) {
	if len(s) != 6 {
		return "", errBad
	}
	if _, err := strconv.ParseUint(s, 16, 32); err != nil || strings.ContainsAny(s, "+-_") {
		return "", errBad
	}
	return strings.ToUpper(s), nil
}
