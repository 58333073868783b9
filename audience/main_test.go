package audience

import (
	"testing"

	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func TestMain(m *testing.M) { servicestest.Main(m) }
