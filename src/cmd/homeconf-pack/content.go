package main

// file is one file of a package.
type file struct {
	path string // in the package; its source has the same place under files/
	mode int64  // as OpenWrt's INSTALL_BIN, INSTALL_CONF and INSTALL_DATA would give it
}

// content is one package.
type content struct {
	name, title, description string
	all                      bool // for every architecture
	depends                  string
	files                    []file
	conffiles                []string
	prerm                    string // run by OpenWrt's default_prerm; the file's name under openwrt/homeconf
}

// program is the path of the binary in the package.
const program = "/usr/sbin/homeconf"

const (
	bin  = 0o755
	conf = 0o600 // it may hold an agent's set-up code
	data = 0o644
)

// contents are the packages there are. openwrt/homeconf/Makefile builds the same
// ones in OpenWrt's own tree, and a test compares the two.
var contents = []content{
	{
		name: "homeconf", title: "Home network that configures itself",
		description: "Configures the devices of a home network and what they need on the gateway, after IEC 62608-1.",
		// iptables, where the firewall is fw3.
		depends: "iptables-nft | iptables, iptables-mod-ipopt",
		files: []file{
			{"/etc/config/homeconf", conf},
			{"/etc/init.d/homeconf", bin},
			{"/etc/init.d/homeconf-reinstall", bin},
			{"/etc/rc.wps/30-homeconf", bin},
			{"/etc/uci-defaults/80-homeconf", bin},
			{"/lib/upgrade/keep.d/homeconf", data},
			{program, bin},
			{"/usr/share/acl.d/homeconf.json", data},
			{"/usr/share/homeconf/firewall.include", data},
			{"/usr/share/homeconf/leave", bin},
			{"/usr/share/ucode/node-exporter/lib/homeconf.uc", data},
		},
		conffiles: []string{"/etc/config/homeconf"},
		prerm:     "homeconf.prerm",
	},
	{
		name: "homeconf-agent", title: "Home network that configures itself (agent)",
		description: "Has this device configured by the home's homeconf configurator.",
		all:         true,
		depends:     "homeconf",
		files: []file{
			{"/etc/init.d/homeconf-agent", bin},
			{"/etc/uci-defaults/80-homeconf-agent", bin},
		},
		prerm: "homeconf-agent.prerm",
	},
}

// The scripts that OpenWrt's own build puts into every package.
const (
	postinst = `#!/bin/sh
[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_postinst $0 $@
`
	prerm = `#!/bin/sh
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
default_prerm $0 $@
`
)
