package model

// AddressPolicy says how a device gets its address.
type AddressPolicy string

// The address policies.
const (
	AddressStatic  AddressPolicy = "static"  // reserved on the gateway, and set on the device where it has an agent
	AddressReserve AddressPolicy = "reserve" // reserved on the gateway; the device stays on DHCP
	AddressDynamic AddressPolicy = "dynamic" // whatever the pool gives
)

// PortPolicy says what becomes of a wish for a port opening.
type PortPolicy string

// The port policies.
const (
	PortsNever  PortPolicy = "never"
	PortsAsk    PortPolicy = "ask"
	PortsAlways PortPolicy = "always"
)

// Profile is what devices of some categories need.
type Profile struct {
	Name       string        `json:"Name"`
	Categories []Category    `json:"Categories,omitempty"`
	Address    AddressPolicy `json:"AddressPolicy"`
	Class      TrafficClass  `json:"TrafficClass"`
	Multicast  bool          `json:"Multicast"`
	DownMbps   uint32        `json:"DownMbps,omitempty"` // what one device needs from the WAN
	UpMbps     uint32        `json:"UpMbps,omitempty"`
	Ports      PortPolicy    `json:"AllowPorts"`
}
