package model

import "net/netip"

// Reservation is a fixed address in the gateway's DHCP server
// (TR-181 DHCPv4.Server.Pool.{i}.StaticAddress.{i}: Chaddr, Yiaddr).
type Reservation struct {
	Device  DeviceID   `json:"Device"`
	Name    string     `json:"Name,omitempty"` // a DNS label, or empty
	MACs    []MAC      `json:"Chaddr"`
	Address netip.Addr `json:"Yiaddr"`
	Reason  string     `json:"Reason"`
}

// Mark classifies the traffic to a device and to the groups it has joined
// (TR-181 QoS.Classification.{i}: DestIP, DSCPMark, TrafficClass).
type Mark struct {
	Device  DeviceID     `json:"Device"`
	Address netip.Addr   `json:"DestIP"`
	Groups  []netip.Addr `json:"Groups,omitempty"`
	Class   TrafficClass `json:"TrafficClass"`
	Reason  string       `json:"Reason"`
}

// MulticastPath is the way of IPTV's multicast from the WAN to the LAN
// (X_HOMECONF_IGMP.Proxy).
type MulticastPath struct {
	Upstream   string         `json:"Upstream"` // UCI networks, as in igmpproxy's phyint
	Downstream string         `json:"Downstream"`
	AltNets    []netip.Prefix `json:"AltNets,omitempty"` // senders upstream outside its own subnet
	Reason     string         `json:"Reason"`
}

// GatewayState is what the gateway should be. A zero value is a gateway on
// which we own nothing.
type GatewayState struct {
	Reservations []Reservation  `json:"Reservations,omitempty"`
	Marks        []Mark         `json:"Marks,omitempty"`
	Multicast    *MulticastPath `json:"Multicast,omitempty"` // nil: leave the proxy as it is
	Redirects    []Redirect     `json:"Redirects,omitempty"`
}

// Check is one thing looked at after a write.
type Check struct {
	Device DeviceID `json:"Device,omitempty"`
	What   string   `json:"What"` // "reservation", "mark", "igmp-proxy", "group", "stream"
	OK     bool     `json:"OK"`
	Seen   string   `json:"Seen"` // what was really there
}

// Network is what was found out about the home, before any plan is made.
type Network struct {
	LAN          LAN          `json:"LAN"`
	WAN          WAN          `json:"WAN"`
	Pool         AddressRange `json:"Pool,omitzero"`
	Leases       []Lease      `json:"Leases,omitempty"`
	Reservations []HostEntry  `json:"Reservations,omitempty"` // ours and anyone's
	// Owned are the devices that homeconf's ledger says have a reservation of
	// ours: who is missing above lost it.
	Owned []DeviceID `json:"Owned,omitempty"`
	// Rest is a digest of what in the DHCP server configuration is not ours.
	Rest       string        `json:"-"`
	Neighbors  []Neighbor    `json:"Neighbors,omitempty"`
	Ports      []BridgePort  `json:"Ports,omitempty"`
	Rates      Rates         `json:"Rates"`
	Firewall   Firewall      `json:"Firewall,omitempty"`
	Offloading bool          `json:"FlowOffloading"` // flows skip the mangle chains
	Multicast  MulticastFact `json:"Multicast"`
}

// Firewall is what makes a gateway's packet rules.
type Firewall string

// The firewalls.
const (
	FirewallFW4      Firewall = "fw4"      // OpenWrt's, with nftables (from 22.03)
	FirewallFW3      Firewall = "fw3"      // OpenWrt's, with iptables (to 21.02)
	FirewallIPTables Firewall = "iptables" // none of OpenWrt's, but the program is there
	FirewallNone     Firewall = "none"
)

// LAN is the home's side of the gateway.
type LAN struct {
	Network string       `json:"Network"` // UCI name, "lan"
	Device  string       `json:"Device"`  // "br-lan"
	Prefix  netip.Prefix `json:"Prefix"`  // the gateway's own address in it
	MAC     MAC          `json:"MACAddress"`
}

// WAN is the outside's.
type WAN struct {
	Network   string `json:"Network,omitempty"` // UCI name; empty: there is none
	Device    string `json:"Device,omitempty"`
	Up        bool   `json:"Up"`
	SpeedMbps uint32 `json:"SpeedMbps,omitempty"` // of the link, 0: not known
}

// AddressRange is the DHCP pool, both ends in it.
type AddressRange struct {
	First netip.Addr `json:"First"`
	Last  netip.Addr `json:"Last"`
}

// Contains says whether an address lies in the range.
func (r AddressRange) Contains(a netip.Addr) bool {
	return r.First.IsValid() && r.Last.IsValid() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Lease is one line of the DHCP server's leases.
type Lease struct {
	MAC      MAC        `json:"MACAddress"`
	Address  netip.Addr `json:"IPAddress"`
	HostName string     `json:"HostName,omitempty"`
	Expiry   int64      `json:"Expiry"` // Unix seconds, 0: never
}

// HostEntry is a reservation as it stands in UCI.
type HostEntry struct {
	Section string     `json:"Section"` // name, or libuci's generated one
	Owner   DeviceID   `json:"Owner,omitempty"`
	Name    string     `json:"Name,omitempty"`
	MACs    []MAC      `json:"MACAddresses,omitempty"`
	Address netip.Addr `json:"IPAddress,omitzero"`
	Enabled bool       `json:"Enabled"`
}

// Neighbor is one entry of the kernel's neighbour table on the LAN.
type Neighbor struct {
	MAC       MAC        `json:"MACAddress"`
	Address   netip.Addr `json:"IPAddress"`
	Reachable bool       `json:"Reachable"`
}

// BridgePort is one port of the LAN bridge.
type BridgePort struct {
	Device    string `json:"Device"`
	Up        bool   `json:"Up"`
	SpeedMbps uint32 `json:"SpeedMbps,omitempty"`
	Medium    Medium `json:"Medium,omitempty"`
	MACs      []MAC  `json:"MACAddresses,omitempty"` // learned there, at most 256
}

// Rates are what the line carries, as its owner said; never measured by us.
type Rates struct {
	DownMbps uint32 `json:"DownMbps,omitempty"`
	UpMbps   uint32 `json:"UpMbps,omitempty"`
	Source   string `json:"Source,omitempty"` // "homeconf", "sqm", or empty: nobody said
	Shaper   bool   `json:"Shaper"`           // a queue at the WAN that shapes
}

// MulticastFact is the state of the IGMP proxy.
type MulticastFact struct {
	Installed  bool     `json:"Installed"`
	Program    string   `json:"Program,omitempty"` // "igmpproxy" or "omcproxy"
	Running    bool     `json:"Running"`
	Configured bool     `json:"Configured"` // an upstream and a downstream in UCI
	Ours       bool     `json:"Ours"`       // that configuration was written by homeconf
	Upstream   string   `json:"Upstream,omitempty"`
	Downstream []string `json:"Downstream,omitempty"`
	Interfaces []string `json:"Interfaces,omitempty"` // of /proc/net/ip_mr_vif

	// AltNets are the senders that the configured proxy takes beyond its
	// upstream's own subnet.
	AltNets []netip.Prefix `json:"AltNets,omitempty"`
}
