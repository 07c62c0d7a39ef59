package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	gwuci "homeconf/src/gateway/uci"
)

// RestoreLAN implements Gateway. When the network can't be asked to reload, the
// configuration is put back.
func (r *Router) RestoreLAN(ctx context.Context, address netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, err := gwuci.SetLAN(ctx, r.dir, r.cfg.LANNetwork, address)
	if err != nil {
		return fmt.Errorf("restore the LAN's address %s: %w", address, err)
	}
	if err := r.cfg.Reloader.Reload(ctx, "network"); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		return fmt.Errorf("restore the LAN's address %s: %w", address, errors.Join(err, was.Restore(ctx, r.dir)))
	}
	return nil
}
