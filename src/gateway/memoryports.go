package gateway

import (
	"context"
	"slices"

	"homeconf/src/model"
)

// Occupy makes something else have ports of the outside.
func (m *Memory) Occupy(taken ...model.Occupied) {
	m.mu.Lock()
	m.taken = taken
	m.mu.Unlock()
	m.tell("settings")
}

// Occupied implements Gateway.
func (m *Memory) Occupied(ctx context.Context) ([]model.Occupied, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.taken), ctx.Err()
}
