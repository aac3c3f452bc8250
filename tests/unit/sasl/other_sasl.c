/* SPDX-License-Identifier: MIT */
/* Somebody else's XOAUTH2, as strong as sasl-xoauth2 and KDE's say they are. */
#include <sasl/sasl.h>
#include <sasl/saslplug.h>

static int mech_new(void *glob_context, sasl_client_params_t *params, void **context_r)
{
	*context_r = NULL;
	return SASL_OK;
}

static int mech_step(void *context, sasl_client_params_t *params, const char *in, unsigned int in_size, sasl_interact_t **prompts,
		     const char **out_r, unsigned int *size_r, sasl_out_params_t *oparams)
{
	*out_r = "of another";
	*size_r = 10;
	return params->canon_user(params->utils->conn, "other", 0, SASL_CU_AUTHID | SASL_CU_AUTHZID, oparams);
}

int sasl_client_plug_init(const sasl_utils_t *utils, int max_version, int *version_r, sasl_client_plug_t **plugs_r, int *count_r);

int sasl_client_plug_init(const sasl_utils_t *utils, int max_version, int *version_r, sasl_client_plug_t **plugs_r, int *count_r)
{
	static sasl_client_plug_t plug = {
		.mech_name = "XOAUTH2", .max_ssf = 60,
		.security_flags = SASL_SEC_NOANONYMOUS | SASL_SEC_NOPLAINTEXT | SASL_SEC_PASS_CREDENTIALS,
		.features = SASL_FEAT_WANT_CLIENT_FIRST | SASL_FEAT_ALLOWS_PROXY, .mech_new = mech_new, .mech_step = mech_step,
	};

	*version_r = SASL_CLIENT_PLUG_VERSION;
	*plugs_r = &plug;
	*count_r = 1;
	return SASL_OK;
}
