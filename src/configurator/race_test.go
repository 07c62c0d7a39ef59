//go:build race

package configurator

const raceEnabled = true
