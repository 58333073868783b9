package main

import "slices"

// percentile returns the smallest of values that p per cent of them do not exceed.
func percentile(values []float64, p int) float64 {
	return slices.Sorted(slices.Values(values))[(len(values)*p+99)/100-1]
}

// median returns the middle of values, the lower one if there are two.
func median(values []float64) float64 { return percentile(values, 50) }
