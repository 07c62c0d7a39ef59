//go:build !race

package configurator

const raceEnabled = false
