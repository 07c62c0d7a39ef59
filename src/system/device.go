// Package system is what an agent changes on its own device, behind a small
// interface: one managed network interface's IPv4 address, default gateway and
// name servers. Memory is a device in memory; system/netlink is a Linux
// device; system/dhcp takes and gives back leases.
package system

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"homeconf/src/model"
)

// Device is a device whose one managed interface an agent configures. Its
// methods may be called from several goroutines.
type Device interface {
	// Report says what the device is like now: interfaces, gateway, name
	// servers, groups, host name, capabilities. What the product is called
	// and what became of changes is the agent's to add.
	Report(ctx context.Context) (model.Report, error)

	// Current reads the settings in force, such that Apply of them brings
	// this state back. An interface without an address gives the zero value.
	Current(ctx context.Context) (model.Settings, error)

	// Apply ends in exactly the given settings or in an error, and may be
	// repeated. AddressingStatic sets the address; AddressingDHCP keeps the
	// lease that Use put there (or another DHCP client did) and takes away
	// the rest; the zero value takes away all that is ours.
	Apply(ctx context.Context, s model.Settings) error

	// Prove shows that the settings work: the address is there and the
	// gateway answers. It tries again until the context ends.
	Prove(ctx context.Context, s model.Settings) error

	// Watch calls changed, from one goroutine, whenever something that Report
	// tells may have become different, several changes at once where they
	// come together. It returns nil when the context ends.
	Watch(ctx context.Context, changed func()) error
}

// ErrLeaseEnded says that a server will not lend an address any longer.
var ErrLeaseEnded = errors.New("the server lends the address no more")

// Leaser is a device that can take an address by DHCP.
type Leaser interface {
	// Lease asks for an address. Once the server was asked for the offered
	// one, the answer is waited for (half a second) even when the context
	// ends, so that no lease is made that nobody knows of: a caller that no
	// longer wants it gives it to Release.
	Lease(ctx context.Context) (Lease, error)

	// Held is the lease in use, also one that an earlier run took: whoever
	// crashed must be able to give it back.
	Held() (Lease, bool)

	// Renew asks for more time (RFC 2131, section 4.4.5). ErrLeaseEnded: the
	// address must not be used any more.
	Renew(ctx context.Context, l Lease) (Lease, error)

	// Use puts the leased address on the interface, for as long as it was
	// lent, beside what is there.
	Use(ctx context.Context, l Lease) error

	// Release tells the server that the address is not needed (RFC 2131,
	// section 4.4.6), then takes it from the interface, unless it was set
	// there as a static one in the meantime.
	Release(ctx context.Context, l Lease) error
}

// Lease is an address that a DHCP server lent.
type Lease struct {
	Address netip.Prefix  `json:"Address"`
	Gateway netip.Addr    `json:"Gateway,omitzero"`
	DNS     []netip.Addr  `json:"DNS,omitempty"`
	Server  netip.Addr    `json:"Server"`
	Taken   time.Time     `json:"Taken"`
	For     time.Duration `json:"For"` // 0: for ever
	Offer   []byte        `json:"Offer,omitempty"`
	Ack     []byte        `json:"Ack,omitempty"` // the server's own words, for Renew and Release
}

// Settings are the settings that a lease amounts to.
func (l Lease) Settings() model.Settings {
	return model.Settings{AddressingType: model.AddressingDHCP, Address: l.Address, Gateway: l.Gateway, DNS: l.DNS}
}
