package model

import "net/netip"

// DeviceInfo is what a device says of its product (TR-181 DeviceInfo.).
type DeviceInfo struct {
	DeviceCategory  Category `json:"DeviceCategory,omitempty"`
	Manufacturer    string   `json:"Manufacturer,omitempty"`
	ManufacturerOUI string   `json:"ManufacturerOUI,omitempty"` // six upper-case hex digits
	ModelName       string   `json:"ModelName,omitempty"`
	ModelNumber     string   `json:"ModelNumber,omitempty"`
	SerialNumber    string   `json:"SerialNumber,omitempty"`
	SoftwareVersion string   `json:"SoftwareVersion,omitempty"`
	FriendlyName    string   `json:"FriendlyName,omitempty"`
}

// AddressingType says how an IPv4 address was got
// (TR-181 IP.Interface.{i}.IPv4Address.{i}.AddressingType).
type AddressingType string

// The addressing types.
const (
	AddressingUnknown AddressingType = ""
	AddressingDHCP    AddressingType = "DHCP"
	AddressingStatic  AddressingType = "Static"
	AddressingAutoIP  AddressingType = "AutoIP" // RFC 3927
)

// Medium is what an interface is made of.
type Medium string

// The media.
const (
	MediumUnknown  Medium = ""
	MediumEthernet Medium = "ethernet"
	MediumWiFi     Medium = "wifi"
)

// Address is one IPv4 address of an interface with its prefix length.
type Address struct {
	Prefix netip.Prefix   `json:"Prefix"`
	Type   AddressingType `json:"AddressingType,omitempty"`
}

// Interface is one network interface of a device.
type Interface struct {
	Name      string    `json:"Name"`
	MAC       MAC       `json:"MACAddress"`
	Medium    Medium    `json:"Medium,omitempty"`
	Up        bool      `json:"Up"`
	SpeedMbps uint32    `json:"SpeedMbps,omitempty"` // 0: not known
	Addresses []Address `json:"IPv4Addresses,omitempty"`
}

// ServiceState is what became of a service.
type ServiceState string

// The states of a service.
const (
	ServiceUnknown ServiceState = "unknown"
	ServiceRunning ServiceState = "running"
	ServiceStopped ServiceState = "stopped"
)

// Service is one service that the owner of a device listed.
type Service struct {
	Name  string       `json:"Name"`
	Kind  string       `json:"Kind,omitempty"` // "dlna-server", "iptv", …
	State ServiceState `json:"State"`
	// Expose lists the ports that the outside should reach: a wish.
	Expose []Port `json:"Expose,omitempty"`
}

// Capability is one thing that an agent can change on its device.
type Capability string

// The capabilities.
const (
	CanStaticIPv4 Capability = "ipv4.static"
	CanDHCPv4     Capability = "ipv4.dhcp"
	CanDNS        Capability = "dns"
)

// CommitState is where an agent stands in commit-confirm.
type CommitState string

// The states of commit-confirm.
const (
	CommitNone      CommitState = "none"      // nothing was ever asked
	CommitPending   CommitState = "pending"   // applied, not yet confirmed
	CommitConfirmed CommitState = "confirmed" // last known good
	CommitReverted  CommitState = "reverted"  // the last change was undone
)

// Report is what an agent says of itself.
type Report struct {
	Info         DeviceInfo   `json:"DeviceInfo"`
	HostName     string       `json:"HostName,omitempty"`
	Interfaces   []Interface  `json:"Interfaces,omitempty"`
	Managed      string       `json:"ManagedInterface,omitempty"` // the interface that the agent configures
	Gateway      netip.Addr   `json:"Gateway,omitzero"`
	DNS          []netip.Addr `json:"DNS,omitempty"`
	Services     []Service    `json:"Services,omitempty"`
	Capabilities []Capability `json:"Capabilities,omitempty"`
	Groups       []netip.Addr `json:"Groups,omitempty"` // joined IPv4 multicast groups
	Backend      string       `json:"Backend,omitempty"`
	Generation   uint64       `json:"Generation"` // of the settings in force, 0: none of ours
	State        CommitState  `json:"State"`
}

// Interface finds the interface that the agent configures.
func (r *Report) Interface() (Interface, bool) {
	for _, i := range r.Interfaces {
		if i.Name == r.Managed {
			return i, true
		}
	}
	return Interface{}, false
}

// Can says whether the agent named a capability.
func (r *Report) Can(c Capability) bool {
	for _, have := range r.Capabilities {
		if have == c {
			return true
		}
	}
	return false
}

// Settings is what the configurator asks of an agent's interface.
type Settings struct {
	Generation     uint64         `json:"Generation"`
	AddressingType AddressingType `json:"AddressingType"`
	Address        netip.Prefix   `json:"Address,omitzero"` // address and prefix length, Static only
	Gateway        netip.Addr     `json:"Gateway,omitzero"`
	DNS            []netip.Addr   `json:"DNS,omitempty"`
}

// Same says whether two settings ask for the same, whatever their generation.
func (s Settings) Same(o Settings) bool {
	if s.AddressingType != o.AddressingType || s.Address != o.Address || s.Gateway != o.Gateway || len(s.DNS) != len(o.DNS) {
		return false
	}
	for i := range s.DNS {
		if s.DNS[i] != o.DNS[i] {
			return false
		}
	}
	return true
}

// OutcomeCode is what became of a Configure.
type OutcomeCode string

// The outcomes.
const (
	OutcomeApplied  OutcomeCode = "applied"  // applied and proven at Layer 3, awaiting Confirm
	OutcomeReverted OutcomeCode = "reverted" // undone, the last known good settings are back
	OutcomeRefused  OutcomeCode = "refused"  // never applied
)

// Outcome is an agent's answer to a Configure.
type Outcome struct {
	Generation uint64      `json:"Generation"`
	Code       OutcomeCode `json:"Code"`
	Reason     string      `json:"Reason,omitempty"`
}
