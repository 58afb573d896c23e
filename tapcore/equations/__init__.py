"""The equations of a machine at given means and variances: fields and free energy."""
