/* SPDX-License-Identifier: MIT */
#include "core/clouds.h"

#include <string.h>

#define ENDPOINTS(imap_pop3, smtp) \
	{ [MAUTH_SERVICE_IMAP] = { imap_pop3, 993, MAUTH_TLS_IMPLICIT }, \
	  [MAUTH_SERVICE_POP3] = { imap_pop3, 995, MAUTH_TLS_IMPLICIT }, \
	  [MAUTH_SERVICE_SUBMISSION] = { smtp, 587, MAUTH_TLS_STARTTLS } }

/* Authorities: entra-docs authentication-national-cloud.md. Mail hosts: the "Office 365 URLs and IP address
 * ranges" pages of each cloud. The scopes use the hosts of "Authenticate an IMAP, POP or SMTP connection using
 * OAuth" (app-only: "You must use https://outlook.office365.com/.default"). Graph: "Microsoft Graph national cloud
 * deployments". Autodiscover V2 is documented nowhere; that the mail hosts answer it is what clients rely on. */
static const struct mauth_cloud clouds[] = {
	{ "worldwide", false, "https://login.microsoftonline.com", "https://outlook.office.com",
	  "https://graph.microsoft.com", "https://outlook.office365.com", "https://outlook.office365.com",
	  ENDPOINTS("outlook.office365.com", "smtp.office365.com") },
	/* Microsoft counts GCC to the worldwide endpoints; the identity service is the commercial one as well. */
	{ "gcc", false, "https://login.microsoftonline.com", "https://outlook.office.com",
	  "https://graph.microsoft.com", "https://outlook.office365.com", "https://outlook.office365.com",
	  ENDPOINTS("outlook.office365.com", "smtp.office365.com") },
	{ "gcc-high", true, "https://login.microsoftonline.us", "https://outlook.office365.us",
	  "https://graph.microsoft.us", "https://outlook.office365.us", "https://outlook.office365.us",
	  ENDPOINTS("outlook.office365.us", "smtp.office365.us") },
	{ "dod", true, "https://login.microsoftonline.us", "https://outlook-dod.office365.us",
	  "https://dod-graph.microsoft.us", "https://outlook-dod.office365.us", "https://outlook-dod.office365.us",
	  ENDPOINTS("outlook-dod.office365.us", "outlook-dod.office365.us") },
	/* NEEDSWORK: one public report says that the password grant of 21Vianet works on the v1 endpoint only. */
	{ "china", false, "https://login.partner.microsoftonline.cn", "https://partner.outlook.cn",
	  "https://microsoftgraph.chinacloudapi.cn", "https://partner.outlook.cn", "https://partner.outlook.cn",
	  ENDPOINTS("partner.outlook.cn", "smtp.partner.outlook.cn") },
};

const struct mauth_cloud *mauth_cloud_find(const char *name)
{
	for (size_t i = 0; i < sizeof(clouds) / sizeof(clouds[0]); i++) {
		if (strcmp(clouds[i].name, name) == 0)
			return &clouds[i];
	}
	return NULL;
}
