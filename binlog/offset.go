package binlog

import (
	"math"

	"github.com/go-mysql-org/go-mysql/replication"
)

// page is the part of an offset that a LogPos, which has 32 bits, leaves out:
// one transaction can make a log file larger than 4 GiB.
func page(offset uint64) uint64 { return offset &^ math.MaxUint32 }

const halfPage = 1 << 31

// follow is the offset where an event ends whose predecessor ended at offset.
func follow(offset uint64, h *replication.EventHeader) uint64 {
	switch h.EventType {
	case replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2:
		return offset // no part of the file
	}
	if h.Flags&replication.LOG_EVENT_ARTIFICIAL_F != 0 {
		return offset
	}
	end := offset + uint64(h.EventSize)
	switch {
	case h.LogPos == uint32(end):
		return end
	case h.LogPos == 0:
		if h.EventType == replication.FORMAT_DESCRIPTION_EVENT {
			return offset // repeated for a dump that starts behind it
		}
		return end // MariaDB 11.8 inside of transactions
	case page(offset) == 0 && uint64(h.LogPos) > offset:
		return uint64(h.LogPos)
	}
	switch h.EventType {
	case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.MARIADB_GTID_EVENT:
		// The server left whole transactions out, or a dump by GTID starts a
		// little before the offset: SHOW BINARY LOG STATUS names one that can be
		// ahead of its GTID set. The place nearest to offset is meant.
		at := page(offset) | uint64(h.LogPos)
		switch {
		case at+halfPage < offset:
			at += 1 << 32
		case at > offset+halfPage && page(offset) > 0:
			at -= 1 << 32
		}
		return at
	}
	// A dump by GTID starts with the head of a file that was read already.
	return offset
}
